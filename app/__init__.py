"""The map of the house; imports go downward only.

cli           the commands
main          create_app(settings): the composition root, the only file that names a vendor
api           HTTP in | scheduler: when things happen | xero: one vendor, HTTP and translation
sync          keeps billing equal to the vendor: leases, budget, pull, inbox, runs, reconcile
connections   whom we may speak to: grants, tokens, organisations, selection, health and banners
connector     the port every vendor fulfils
billing       the neutral truth: records, tables, store, and how to read it
clock crypto db embedded log settings    foundations
"""
