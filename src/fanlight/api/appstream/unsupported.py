"""The operations that are not built yet, and why. Each answers with an error its clients know; none pretends.

The texts are shown to callers and stand in `docs/api-coverage.md`: they say what is missing and what to do instead.
"""

from fanlight.api.appstream.registry import NotBuilt, not_supported

# What is missing, in one sentence → the operations that wait for it.
_REASONS: dict[str, tuple[str, ...]] = {
    "Fanlight does not install licensed Windows software on image builders; its images are Linux.": (
        "AssociateSoftwareToImageBuilder",
        "DescribeAppLicenseUsage",
        "DescribeSoftwareAssociations",
        "DisassociateSoftwareFromImageBuilder",
        "StartSoftwareDeploymentToImageBuilder",
    ),
    "Fanlight has no Elastic fleets yet, so it has no app blocks; use an ALWAYS_ON or ON_DEMAND fleet with an image.": (
        "CreateAppBlock",
        "DeleteAppBlock",
        "DescribeAppBlocks",
    ),
    "Fanlight has no Elastic fleets yet, so it has no app block builders; put the applications into an image.": (
        "AssociateAppBlockBuilderAppBlock",
        "CreateAppBlockBuilder",
        "CreateAppBlockBuilderStreamingURL",
        "DeleteAppBlockBuilder",
        "DescribeAppBlockBuilderAppBlockAssociations",
        "DescribeAppBlockBuilders",
        "DisassociateAppBlockBuilderAppBlock",
        "StartAppBlockBuilder",
        "StopAppBlockBuilder",
        "UpdateAppBlockBuilder",
    ),
    "Fanlight has no Elastic fleets yet, so applications belong to images; DescribeImages lists them.": (
        "AssociateApplicationFleet",
        "CreateApplication",
        "DeleteApplication",
        "DescribeApplicationFleetAssociations",
        "DescribeApplications",
        "DisassociateApplicationFleet",
        "UpdateApplication",
    ),
    "Fanlight has no entitlements yet; every user of a stack sees all applications of its image.": (
        "AssociateApplicationToEntitlement",
        "CreateEntitlement",
        "DeleteEntitlement",
        "DescribeEntitlements",
        "DisassociateApplicationFromEntitlement",
        "ListEntitledApplications",
        "UpdateEntitlement",
    ),
    "Fanlight has no user pool yet; authenticate users yourself and give them the URL of CreateStreamingURL.": (
        "BatchAssociateUserStack",
        "BatchDisassociateUserStack",
        "CreateUser",
        "DeleteUser",
        "DescribeUserStackAssociations",
        "DescribeUsers",
        "DisableUser",
        "EnableUser",
    ),
    "Fanlight does not join instances to an Active Directory domain; its images are Linux.": (
        "CreateDirectoryConfig",
        "DeleteDirectoryConfig",
        "DescribeDirectoryConfigs",
        "UpdateDirectoryConfig",
    ),
    "Fanlight has no themes yet; the portal looks the same for every stack.": (
        "CreateThemeForStack",
        "DeleteThemeForStack",
        "DescribeThemeForStack",
        "UpdateThemeForStack",
    ),
    "Fanlight writes no usage reports yet; its audit log names every call and connection.": (
        "CreateUsageReportSubscription",
        "DeleteUsageReportSubscription",
        "DescribeUsageReportSubscriptions",
    ),
}

NOT_BUILT: tuple[NotBuilt, ...] = tuple(
    not_supported(name, because=because) for because, names in _REASONS.items() for name in names
)
