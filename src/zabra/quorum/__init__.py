"""The asyncio shell around :mod:`zabra.zab`: connections between servers, and the roles a server takes."""
