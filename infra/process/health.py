"""Is the process in this container well? Asks its own metrics endpoint; the exit code is the answer."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

from infra.config import config


def main() -> int:
    """0 when the endpoint answers, 1 when it does not; the reason goes to stderr."""
    url = f"http://127.0.0.1:{config().metrics_port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        print(f"unhealthy: {url} does not answer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
