"""A model of the API's rules in as few words as possible, and what drives the real API against it at random.

`fleets` and `stacks` say what requests are drawn, with which codes they may be refused, and what they change; `world` is the API
under test. The machine that plays sequences stands in `contract/test_random_operations.py`.
"""
