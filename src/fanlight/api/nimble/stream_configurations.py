"""The stream configuration of a launch profile, as requests say it and answers show it."""

from fanlight.api.types import nimble as types
from fanlight.api.types.nimble import StreamConfigurationCreate
from fanlight.domain.nimble.launch_profiles import (
    LONGEST_SESSION_BY_DEFAULT,
    SessionBackups,
    StreamConfiguration,
    Switch,
    UploadStorage,
    VolumeWish,
)

_DISK = "A pool has what its disks have; it is kept and shown."
STREAM_WITHOUT_EFFECT = {
    "streamConfiguration.sessionStorage.root.windows": "Machines are Linux; it is kept and shown.",
    "streamConfiguration.volumeConfiguration.iops": _DISK,
    "streamConfiguration.volumeConfiguration.throughput": _DISK,
}


def read_stream(given: StreamConfigurationCreate) -> StreamConfiguration:
    backups, storage, volume = given.session_backup, given.session_storage, given.volume_configuration
    root = storage.root if storage else None
    return StreamConfiguration(
        has_clipboard=given.clipboard_mode == types.StreamingClipboardMode.ENABLED,
        instance_types=tuple(given.ec2_instance_types),
        streaming_image_ids=given.streaming_image_ids,
        max_session_length=given.max_session_length_in_minutes or LONGEST_SESSION_BY_DEFAULT,
        max_stopped_session_length=given.max_stopped_session_length_in_minutes or 0,
        persistence=Switch(given.session_persistence_mode or Switch.DEACTIVATED),
        termination=Switch(given.automatic_termination_mode) if given.automatic_termination_mode else None,
        backups=SessionBackups(
            is_automatic=backups.mode == types.SessionBackupMode.AUTOMATIC,
            most_retained=backups.max_backups_to_retain or 0,
        )
        if backups
        else None,
        # UPLOAD is the only mode, and a list of modes has at least one.
        upload=UploadStorage(
            linux_root=root.linux if root else None,
            windows_root=root.windows if root else None,
        )
        if storage and storage.mode
        else None,
        volume=VolumeWish(size_in_gib=volume.size, iops=volume.iops, throughput_in_mib_per_second=volume.throughput)
        if volume
        else None,
    )


def shown_stream(stream: StreamConfiguration) -> types.StreamConfiguration:
    modes = types.StreamingClipboardMode
    return types.StreamConfiguration(
        clipboard_mode=modes.ENABLED if stream.has_clipboard else modes.DISABLED,
        ec2_instance_types=tuple(types.StreamingInstanceType(one) for one in stream.instance_types),
        streaming_image_ids=stream.streaming_image_ids,
        max_session_length_in_minutes=stream.max_session_length,
        max_stopped_session_length_in_minutes=stream.max_stopped_session_length,
        session_persistence_mode=types.SessionPersistenceMode(stream.persistence),
        automatic_termination_mode=types.AutomaticTerminationMode(stream.termination) if stream.termination else None,
        session_backup=_shown_backups(stream.backups) if stream.backups else None,
        session_storage=_shown_upload(stream.upload) if stream.upload else None,
        volume_configuration=_shown_volume(stream.volume) if stream.volume else None,
    )


def _shown_backups(backups: SessionBackups) -> types.StreamConfigurationSessionBackup:
    modes = types.SessionBackupMode
    return types.StreamConfigurationSessionBackup(
        mode=modes.AUTOMATIC if backups.is_automatic else modes.DEACTIVATED,
        max_backups_to_retain=backups.most_retained,
    )


def _shown_upload(upload: UploadStorage) -> types.StreamConfigurationSessionStorage:
    has_root = upload.linux_root is not None or upload.windows_root is not None
    return types.StreamConfigurationSessionStorage(
        mode=(types.StreamingSessionStorageMode.UPLOAD,),
        root=types.StreamingSessionStorageRoot(linux=upload.linux_root, windows=upload.windows_root)
        if has_root
        else None,
    )


def _shown_volume(volume: VolumeWish) -> types.VolumeConfiguration:
    return types.VolumeConfiguration(
        size=volume.size_in_gib, iops=volume.iops, throughput=volume.throughput_in_mib_per_second
    )
