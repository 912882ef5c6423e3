"""The languages that devices speak, as bytes and plain objects; the gateway and the emulated station both stand here.

Nothing in this folder knows the world behind the words: no asset, no session, no plan.
"""
