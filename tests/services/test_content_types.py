import pytest

from thermocline.services.content_types import guess_content_type


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.jpg", "image/jpeg"),
        ("A.JPG", "image/jpeg"),
        ("a/b.c/d.html", "text/html"),
        ("a.tar.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.txt.xz", "application/x-xz"),
        ("a.webp", "image/webp"),
        ("a.md", "text/markdown"),
        ("a.py/README", "application/octet-stream"),
        (".gitignore", "application/octet-stream"),
        (".jpg", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
        ("data:text/html,x.y", "application/octet-stream"),
        ("a.💾", "application/octet-stream"),
    ],
)
def test_types(name: str, content_type: str) -> None:
    assert guess_content_type(name) == content_type
