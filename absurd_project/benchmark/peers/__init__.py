"""Other queues at the same work, each in processes of its own: nothing here is imported by the product.

Modules of this package import no Django of ours, so that they run under any interpreter that has the peers installed.
"""
