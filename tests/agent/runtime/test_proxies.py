from motorpool_agent.runtime.proxies import beneath, engine_proxies, without_user


def test_the_agents_proxies_in_both_spellings() -> None:
    """
    Programs read one spelling or the other; the lower-case one counts where both are set.
    """
    environ = {"HTTP_PROXY": "http://a:1", "https_proxy": "http://b:1", "HTTPS_PROXY": "http://c:1", "PATH": "/bin"}

    found = engine_proxies("10.0.0.7", environ)

    assert ("http://a:1", "http://a:1") == (found["http_proxy"], found["HTTP_PROXY"])
    assert ("http://b:1", "http://b:1") == (found["https_proxy"], found["HTTPS_PROXY"])
    assert {"http_proxy", "https_proxy", "no_proxy"} == {name.lower() for name in found}


def test_no_proxy_to_this_machine() -> None:
    """
    Loopback and the node's address are excepted beside what the operator excepted, each once.
    """
    found = engine_proxies("10.0.0.7", {"all_proxy": "socks5://a:1", "NO_PROXY": ".example, localhost"})

    assert ".example,localhost,127.0.0.1,::1,10.0.0.7" == found["no_proxy"] == found["NO_PROXY"]


def test_without_a_proxy_nothing_is_set() -> None:
    """
    An agent without proxies hands none over, no exceptions either.
    """
    assert {} == engine_proxies("10.0.0.7", {"NO_PROXY": ".example", "HTTP_PROXY": ""})


def test_a_deployments_own_proxy_wins_in_both_spellings() -> None:
    """
    Where a deployment names a proxy, the agent's other spelling of it does not stand beside.
    """
    proxies = engine_proxies("10.0.0.7", {"https_proxy": "http://a:1"})

    merged = beneath(proxies, {"HTTPS_PROXY": "http://mine:1"})

    assert "http://mine:1" == merged["HTTPS_PROXY"]
    assert "https_proxy" not in merged
    assert "no_proxy" in merged


def test_a_password_in_a_url_is_masked() -> None:
    """
    User and password go, the rest stays; what is no URL stays as it is.
    """
    assert "http://***@proxy:3128/x" == without_user("http://me:p@proxy:3128/x", "***")
    assert "a@b, http://proxy:1" == without_user("a@b, http://proxy:1", "***")
