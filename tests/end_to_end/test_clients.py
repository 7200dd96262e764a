"""Real clients: curl and wget with resume, aria2c with parallel ranges, a browser that seeks in a real video."""

import hashlib
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service_process import ServiceProcess, client, running_service

pytestmark = pytest.mark.server

SIZE = 24_000_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with running_service(tmp_path_factory.mktemp("clients") / "data") as process:
        yield process


@pytest.fixture(scope="module")
def content(service: ServiceProcess) -> bytes:
    body = random.Random(7).randbytes(SIZE)
    with client(service) as http:
        assert http.put("/v1/content/big.bin", content=body).status_code == 201
    return body


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, f"{command}: {result.stdout}\n{result.stderr}"
    return result


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_curl_uploads_from_a_pipe_and_resumes_a_download(
    service: ServiceProcess, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "up").write_bytes(content)
    run("sh", "-c", f"cat up | curl -fsS -T - {service.url}/v1/content/piped.bin", cwd=tmp_path)
    (tmp_path / "down").write_bytes(content[:7_000_001])
    run("curl", "-fsS", "-C", "-", "-o", "down", f"{service.url}/v1/content/piped.bin", cwd=tmp_path)
    assert sha256((tmp_path / "down").read_bytes()) == sha256(content)


def test_curl_revalidates_and_conditions(service: ServiceProcess, content: bytes, tmp_path: Path) -> None:
    url = f"{service.url}/v1/content/big.bin"
    run("curl", "-fsS", "--etag-save", "tag", "-o", "first", url, cwd=tmp_path)
    again = run("curl", "-sS", "--etag-compare", "tag", "-o", "second", "-w", "%{http_code}", url, cwd=tmp_path)
    assert again.stdout == "304"
    refused = run(
        "curl", "-sS", "-w", "%{http_code}", "-o", "/dev/null", "-T", "tag", "-H", "If-None-Match: *", url, cwd=tmp_path
    )
    assert refused.stdout == "412"
    assert sha256((tmp_path / "first").read_bytes()) == sha256(content)


def test_wget_resumes(service: ServiceProcess, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(content[:10_000_000])
    run("wget", "-q", "-c", f"{service.url}/v1/content/big.bin", cwd=tmp_path)
    assert sha256((tmp_path / "big.bin").read_bytes()) == sha256(content)


def test_aria2c_fetches_ranges_in_parallel(service: ServiceProcess, content: bytes, tmp_path: Path) -> None:
    command = ("aria2c", "-q", "-x", "8", "-s", "8", "-k", "1M", "--no-conf", "-o", "big.bin")
    run(*command, f"{service.url}/v1/content/big.bin", cwd=tmp_path)
    assert sha256((tmp_path / "big.bin").read_bytes()) == sha256(content)


def test_a_browser_seeks_in_a_real_video(service: ServiceProcess, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    # Noise does not compress: the file is large enough that the browser cannot just fetch all of it.
    make = ("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=24,noise=alls=60:allf=t")
    run(
        *make,
        "-t",
        "60",
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-cpu-used",
        "16",
        "-b:v",
        "4M",
        "-g",
        "48",
        "v.webm",
        cwd=tmp_path,
    )
    video = (tmp_path / "v.webm").read_bytes()
    assert len(video) > 20_000_000
    with client(service) as http:
        headers = {"Content-Type": "video/webm", "Thermocline-Visibility": "public"}
        assert http.put("/v1/content/v.webm", content=video, headers=headers).status_code == 201
    ranges: list[str] = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = browser.new_page()
        page.on("request", lambda request: ranges.append(request.headers.get("range", "")))
        page.goto(f"{service.url}/docs")
        moments = page.evaluate(
            """async (url) => {
                const video = document.createElement('video');
                video.muted = true; video.preload = 'auto'; video.src = url;
                const until = (name) => new Promise((done, fail) => {
                    video.addEventListener(name, done, {once: true});
                    video.addEventListener('error', () => fail(video.error.message), {once: true});
                });
                document.body.append(video);
                await until('loadeddata');
                const seen = [video.duration];
                for (const moment of [50, 5, 30]) {
                    const there = until('seeked');
                    video.currentTime = moment;
                    await there;
                    seen.push(video.currentTime);
                }
                return seen;
            }""",
            f"{service.url}/v1/content/v.webm",
        )
        browser.close()
    assert moments[0] == pytest.approx(60, abs=1)
    assert moments[1:] == pytest.approx([50, 5, 30], abs=0.1)
    starts = [int(r.removeprefix("bytes=").split("-")[0]) for r in ranges if r.startswith("bytes=")]
    assert any(start > len(video) // 2 for start in starts), f"the browser never asked for the far end: {ranges}"
