"""The replicated store: the contract of `store.interface` on an etcd cluster, for platforms with several managers.

Import it where it is used and nowhere else: its wire library costs a tenth of a second, which one host need not pay.
"""
