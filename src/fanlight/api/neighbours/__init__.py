"""The other AWS services that AppStream's tools ask on the same endpoint: a module each, real in what it answers.

A module has a function that returns its `AwsService`; `catalogue` lists them. Which operations are real stands in
`spec.NEIGHBOURS`, for the types are generated from it; the others are refused by name.
"""
