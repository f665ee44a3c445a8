"""Who may: tokens, passwords, certificates, and to whom credentials are not shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.certificates import Authority
from tests.fault_proxy import Fault, FaultProxy
from tests.images.client import Client
from tests.images.registry_images import Registry, descriptor, image_files, layer
from tests.registry_server import RegistryServer, skopeo
from tests.token_server import REFRESH, TokenServer

from sampan.base.errors import DeniedError, NotFoundError, SampanError, UnavailableError
from sampan.images.core.challenge import Credentials
from sampan.images.core.manifest import OCI_INDEX, OCI_MANIFEST
from sampan.images.core.reference import parse_reference

pytestmark = [pytest.mark.real]

ME = Credentials("me", "secret")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    authority = Authority(tmp_path_factory.mktemp("tokens"))
    server = TokenServer(*authority.issue("tokens"), {"me": "secret"})
    yield server
    server.close()


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, tokens: TokenServer, registry: RegistryServer
) -> Iterator[RegistryServer]:
    """A registry that wants tokens, with two images."""
    server = RegistryServer(tmp_path_factory.mktemp("guarded"), token=tokens.configuration).start()
    Registry(registry.host).put_image("seed:1", [layer("x")])
    for name in ("public/a:1", "private/a:1"):
        skopeo(
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--dest-creds=me:secret",
            f"docker://{registry.host}/seed:1",
            f"docker://{server.host}/{name}",
        )
    yield server
    server.stop()


def test_tokens(tmp_path: Path, guarded: RegistryServer, tokens: TokenServer) -> None:
    async def main() -> None:
        client = Client(tmp_path)
        await client.pull(f"{guarded.host}/public/a:1")
        with pytest.raises(DeniedError, match="unauthorized: authentication required"):
            await client.pull(f"{guarded.host}/private/a:1")
        await client.pull(f"{guarded.host}/private/a:1", credentials=ME)
        wrong = Credentials("me", "wrong")
        with pytest.raises(DeniedError, match="incorrect username or password"):
            await client.pull(f"{guarded.host}/private/a:1", credentials=wrong)
        renewing = Credentials(identity_token=REFRESH)
        await client.pull(f"{guarded.host}/private/a:1", credentials=renewing)
        assert tokens.asked[-1] == "POST refresh_token"

    asyncio.run(main())


def test_pushing_with_tokens_mounts_from_a_neighbour(
    tmp_path: Path, guarded: RegistryServer
) -> None:
    async def main() -> None:
        client = Client(tmp_path)
        await client.pull(f"{guarded.host}/private/a:1", credentials=ME)
        await client.store.tag(f"{guarded.host}/private/a:1", f"{guarded.host}/private/b", "1")
        with pytest.raises(DeniedError):
            await client.push(f"{guarded.host}/private/b:1")
        [digest] = await client.push(f"{guarded.host}/private/b:1", ME)
        assert "Mounted from private/a" in client.states
        found = await client.pull(f"{guarded.host}/private/b@{digest}", credentials=ME)
        assert found.digest == digest

    asyncio.run(main())


def test_logging_in(tmp_path: Path, guarded: RegistryServer) -> None:
    async def main() -> None:
        registries = Client(tmp_path).distribution.registries
        assert await registries.login(guarded.host, ME) == REFRESH
        with pytest.raises(DeniedError, match="unauthorized: incorrect username or password"):
            await registries.login(f"http://{guarded.host}/v1/", Credentials("me", "wrong"))

    asyncio.run(main())


def test_passwords(tmp_path: Path) -> None:
    async def main(server: RegistryServer) -> None:
        client = Client(tmp_path)
        name = f"{server.host}/a:1"
        with pytest.raises(DeniedError, match=r'Head ".*/manifests/1": no basic auth credentials'):
            await client.pull(name)
        with pytest.raises(DeniedError, match="unauthorized: authentication required"):
            await client.pull(name, credentials=Credentials("me", "wrong"))
        with pytest.raises(NotFoundError, match="manifest unknown"):
            await client.pull(name, credentials=ME)
        assert await client.distribution.registries.login(server.host, ME) == ""
        with pytest.raises(DeniedError, match="failed with status: 401 Unauthorized"):
            await client.distribution.registries.login(server.host, Credentials("me", "wrong"))

    server = RegistryServer(tmp_path / "private", users={"me": "secret"}).start()
    try:
        asyncio.run(main(server))
    finally:
        server.stop()


def test_credentials_do_not_follow_a_redirect(tmp_path: Path, guarded: RegistryServer) -> None:
    async def main(elsewhere: FaultProxy, proxy: FaultProxy) -> None:
        client = Client(tmp_path)
        with pytest.raises(SampanError):
            await client.pull(f"{proxy.host}/public/a:1", credentials=ME)
        [seen] = elsewhere.requests("GET /blob")
        assert "authorization" not in seen.headers
        assert proxy.requests("GET .*/blobs/")[0].headers["authorization"].startswith("Bearer ")

    with FaultProxy(guarded.host, Fault("GET /blob", status=404)) as elsewhere:
        place = {"Location": f"http://localhost:{elsewhere.host.partition(':')[2]}/blob"}
        with FaultProxy(guarded.host, Fault("GET .*/blobs/", status=307, headers=place)) as proxy:
            asyncio.run(main(elsewhere, proxy))


def test_certificates(tmp_path: Path) -> None:
    async def main(server: RegistryServer) -> None:
        folder = tmp_path / "certs.d"
        (folder / server.host).mkdir(parents=True)
        name = f"{server.host}/a:1"

        client = Client(tmp_path / "store", certificates=folder)

        async def refused() -> str:
            with pytest.raises(SampanError) as error:
                await client.pull(name)
            return str(error.value)

        # Loopback may show any certificate, until somebody says whose it has to be.
        assert "manifest unknown" in await refused()
        place = folder / server.host / "ca.crt"
        place.write_bytes(stranger.path.read_bytes())
        assert "tls: failed to verify certificate: x509" in await refused()
        place.write_bytes(authority.path.read_bytes())
        assert "manifest unknown" in await refused()
        (folder / server.host / "client.cert").write_bytes(b"")
        assert "missing key client.key for client certificate client.cert" in await refused()

    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    server = RegistryServer(tmp_path / "tls", tls=authority.issue("registry")).start()
    try:
        asyncio.run(main(server))
    finally:
        server.stop()


def test_certificates_of_clients(tmp_path: Path) -> None:
    async def main(server: RegistryServer) -> None:
        folder = tmp_path / "certs.d" / server.host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.path.read_bytes())
        client = Client(tmp_path / "store", certificates=folder.parent)
        with pytest.raises(UnavailableError, match=r"remote error: tls: .*certificate"):
            await client.pull(f"{server.host}/a:1")
        certificate, key = authority.issue("client")
        (folder / "client.cert").write_bytes(certificate.read_bytes())
        (folder / "client.key").write_bytes(key.read_bytes())
        with pytest.raises(NotFoundError, match="manifest unknown"):
            await client.pull(f"{server.host}/a:1")

    authority = Authority(tmp_path)
    server = RegistryServer(
        tmp_path / "tls", tls=authority.issue("registry"), client_authority=authority.path
    ).start()
    try:
        asyncio.run(main(server))
    finally:
        server.stop()


def test_no_way_round_tls(tmp_path: Path, registry: RegistryServer) -> None:
    """A registry with an authority is not asked in plain HTTP."""

    async def main() -> None:
        place = tmp_path / "certs.d" / registry.host
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(Authority(tmp_path).path.read_bytes())
        client = Client(tmp_path)
        with pytest.raises(UnavailableError, match="server gave HTTP response to HTTPS client"):
            await client.pull(f"{registry.host}/a:1")

    asyncio.run(main())


def test_referrers(tmp_path: Path, registry: RegistryServer, images: Registry) -> None:
    """The registry of these tests does not know the call: the tag that stands in is found."""

    async def main() -> None:
        digest = images.put_image("signed:1", [layer("x")])
        reference = parse_reference(f"{registry.host}/signed:1")
        registries = Client(tmp_path).distribution.registries
        async with registries.repository(reference, Credentials()) as (repository, _):
            assert await repository.referrers(digest) == []
            raw, blobs = image_files([layer("signature")])
            for one, data in blobs.items():
                images.put_blob("signed", data, one)
            signature = images.put_manifest("signed", "signature", raw)
            entry = {**descriptor(raw, OCI_MANIFEST), "artifactType": "application/vnd.signature"}
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
            images.put_manifest(
                "signed", digest.replace(":", "-"), json.dumps(index).encode(), OCI_INDEX
            )
            found = await repository.referrers(digest, "application/vnd.signature")
            assert [one.digest for one in found] == [signature]
            assert await repository.referrers(digest, "application/vnd.other") == []

    asyncio.run(main())


def test_inspecting(tmp_path: Path, registry: RegistryServer, images: Registry) -> None:
    async def main() -> None:
        arms = [{"os": "linux", "architecture": "arm", "variant": one} for one in ("v6", "v7")]
        digest = images.put_index("looked:1", arms)
        reference = parse_reference(f"{registry.host}/looked:1")
        found = await Client(tmp_path).distribution.registries.inspect(reference)
        assert found["Descriptor"]["digest"] == digest
        assert [one["variant"] for one in found["Platforms"]] == ["v6", "v7"]

    asyncio.run(main())
