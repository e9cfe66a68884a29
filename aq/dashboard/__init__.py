"""The dashboard: pages for people, on the same engine and by the same functions as the API.

Pages are rendered here; scripts only keep them up to date. `Dashboard` puts it all onto the API's app.
How to add a page stands in docs/dashboard.md.
"""

from aq.dashboard.mount import Dashboard

__all__ = ["Dashboard"]
