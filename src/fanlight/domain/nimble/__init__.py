"""Nimble Studio's nouns: studios, studio components, launch profiles, streaming images, and who may use them."""
