"""The map of the house; imports go downward only.

cli           the commands
main          create_app(settings): the composition root, the only file that names a vendor
api           HTTP in | scheduler: when things happen | xero: one vendor, HTTP and translation
sync          keeps billing equal to the vendor: engine, worker, owner, runs, inbox, drain
              ownership: who works on an organisation | calls: what may be asked, and what an answer means
              walk: how rows are read, page by page and whole
connections   whom we may speak to: grants, tokens, organisations, selection, health and banners
connector     the port every vendor fulfils
billing       the neutral truth: records, tables, store (mirror), matching, and how to read it
clock crypto db embedded log settings    foundations
"""
