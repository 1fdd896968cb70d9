"""Parts of the ledger with one control replaced each, for a home made for knock-outs.

`KNOCKOUTS` names the attack of `tests/property/test_ledger_knockouts.py` that must get through.
"""

from __future__ import annotations

import os
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from knockouts.mark import refuse_real_data
from partywall.keys import file as file_module
from partywall.keys.file import FileKeys
from partywall.ledger.messages import ReadQuery
from partywall.ledger.writer import LedgerServer
from partywall.settings import Home
from partywall.wire.ids import TenantId
from partywall.wire.permit import SignedPermit

KNOCKOUTS: Final = {
    "keys-unbound": "swapped_wrapped_key",
    "one-key-for-all": "equal_prompts_look_equal",
    "any-log": "another_tenants_log",
}


class UnboundKeys(FileKeys):
    """Wraps data keys without saying whose they are: CR-1's control is off."""

    def __init__(self, home: Home) -> None:
        refuse_real_data(home)
        super().__init__(home.kek)

    def _unwrap(self, tenant: TenantId, purpose: str, version: int) -> bytes:
        wrapped = (self._home(tenant) / f"{purpose}.{version}").read_bytes()
        nonce, sealed = wrapped[: file_module.NONCE_BYTES], wrapped[file_module.NONCE_BYTES :]
        return AESGCM(self._kek(tenant, make=False)).decrypt(nonce, sealed, None)

    def rotate_now(self, tenant: TenantId, purpose: str) -> int:
        version = super().rotate_now(tenant, purpose)
        key, nonce = super().data_key_now(tenant, purpose, version)[1], os.urandom(file_module.NONCE_BYTES)
        wrapped = nonce + AESGCM(self._kek(tenant, make=False)).encrypt(nonce, key, None)
        (self._home(tenant) / f"{purpose}.{version}").write_bytes(wrapped)
        return version


class SharedKeys(FileKeys):
    """Gives every log the same key: AU-3's control is off."""

    def __init__(self, home: Home) -> None:
        refuse_real_data(home)
        super().__init__(home.kek)

    def data_key_now(self, tenant: TenantId, purpose: str, version: int | None = None) -> tuple[int, bytes]:
        return super().data_key_now(TenantId("platform"), purpose, version)


class AnyLogServer(LedgerServer):
    """Reads whatever log the query names, under any permit that is good: AU-2's control is off."""

    def __init__(self, logs: Any, witness: Any, home: Home, *arguments: Any, **options: Any) -> None:
        refuse_real_data(home)
        super().__init__(logs, witness, home, *arguments, **options)

    def _require(self, permit: SignedPermit, query: ReadQuery) -> None:
        pass
