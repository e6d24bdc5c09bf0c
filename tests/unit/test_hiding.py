"""Secrets stay out of what people read."""

import pytest

from trimtab.hiding import masked, shown


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("consul://h:1/?dc=a&token=s3cr3t", "consul://h:1/?dc=a&token=..."),
        ("https://me:s3cr3t@h/x?api_key=s3cr3t&q=1", "https://h/x?api_key=...&q=1"),
        ("http://h/{service}#token=s3cr3t&items=a", "http://h/{service}#token=...&items=a"),
        ("http://h/x?q=a%20b", "http://h/x?q=a%20b"),
        ("http://[::1/s3cr3t", "http://..."),
        ("etcd://user:pa/ss@h:1/x", "etcd://h:1/x"),
        ("http://h/a@b", "http://h/a@b"),
    ],
)
def test_urls_are_shown_without_secrets(url, seen):
    assert shown(url) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("token=s3cr3t&dc=a", "token=...&dc=a"),
        (
            "no api_key='s3cr3t', and a password=hunter2)",
            "no api_key='s3cr3t', and a password=...)",
        ),
        ("X_AUTH=a b=c", "X_AUTH=... b=c"),
        ("key= needs cert= beside it", "key= needs cert= beside it"),
        ("write KEY=VALUE, not apikey=VALUE", "write KEY=VALUE, not apikey=..."),
        ("poll=1 wait=30s", "poll=1 wait=30s"),
    ],
)
def test_values_after_secret_names_are_masked(text, seen):
    assert masked(text) == seen
