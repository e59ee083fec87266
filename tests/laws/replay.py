"""The other process of the replay law: reads streams, prints the digest of what each rule says to each."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

from tests.laws.registry import CASE_BY_NAME
from tests.laws.stream import Stream, fed


def main(path: str) -> None:
    streams: dict[str, list[Stream]] = pickle.loads(Path(path).read_bytes())
    print(
        json.dumps(
            {
                name: [fed(CASE_BY_NAME[name].make(), stream).answer.digest() for stream in some]
                for name, some in streams.items()
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
