"""What the official suite has to find in us: how often each scenario succeeds, and what is not there
yet. The one place that says so; `run.py` holds a run against it.

A count is the number of SUCCESS checks, the check of every message against the schema included.
It is exact, because a fixture that went missing makes a scenario smaller rather than fail.
"""

from __future__ import annotations

SERVER_BOTH = {
    "completion-complete": 2,
    "dns-rebinding-protection": 2,
    "json-schema-2020-12": 8,
    "prompts-get-embedded-resource": 2,
    "prompts-get-simple": 2,
    "prompts-get-with-args": 2,
    "prompts-get-with-image": 2,
    "prompts-list": 2,
    "resources-list": 2,
    "resources-read-binary": 2,
    "resources-read-text": 2,
    "resources-templates-read": 2,
    "server-sse-multiple-streams": 1,  # 2 for a server that streams where JSON would do
    "tools-call-audio": 2,
    "tools-call-embedded-resource": 2,
    "tools-call-error": 2,
    "tools-call-image": 2,
    "tools-call-mixed-content": 2,
    "tools-call-simple-text": 2,
    "tools-call-with-progress": 2,
}

AUTH_BOTH = {
    "auth/client-credentials-basic": 7,
    "auth/client-credentials-jwt": 7,
    "auth/dpop": 13,
    "auth/dpop-nonce": 15,
    "auth/enterprise-managed-authorization": 8,
    "auth/metadata-default": 18,
    "auth/metadata-var1": 18,
    "auth/metadata-var2": 18,
    "auth/metadata-var3": 18,
    "auth/pre-registration": 12,
    "auth/basic-cimd": 12,
    "auth/scope-from-scopes-supported": 14,
    "auth/scope-from-www-authenticate": 14,
    "auth/scope-omitted-when-undefined": 14,
    "auth/scope-retry-limit": 11,
    "auth/scope-step-up": 25,
    "auth/token-endpoint-auth-basic": 19,
    "auth/token-endpoint-auth-none": 19,
    "auth/token-endpoint-auth-post": 19,
    "auth/wif-jwt-bearer": 7,
}

AUTH_MODERN = {
    "auth/authorization-server-migration": 27,
    "auth/iss-normalized": 8,
    "auth/iss-not-advertised": 14,
    "auth/iss-supported": 14,
    "auth/iss-supported-missing": 8,
    "auth/iss-unexpected": 8,
    "auth/iss-wrong-issuer": 8,
    "auth/metadata-issuer-mismatch": 3,
    "auth/offline-access-not-supported": 14,
    "auth/offline-access-scope": 12,
    "auth/resource-mismatch": 2,
}

TASKS = {
    "tasks-capability-negotiation": 5,
    "tasks-dispatch-and-envelope": 9,
    "tasks-lifecycle": 9,
    "tasks-mrtr-composition": 2,
    "tasks-mrtr-input": 4,
    "tasks-request-headers": 5,
    "tasks-request-state-removal": 3,
    "tasks-required-task-error": 3,
    "tasks-status-notifications": 0,  # the suite itself only ever skips it
    "tasks-wire-fields": 4,
}

LEGACY = {
    **SERVER_BOTH,
    "elicitation-sep1034-defaults": 6,
    "elicitation-sep1330-enums": 6,
    "logging-set-level": 2,
    "ping": 2,
    "resources-subscribe": 2,
    "resources-unsubscribe": 2,
    "server-initialize": 3,
    "server-session-lifecycle": 3,
    "server-sse-polling": 3,
    "tools-call-elicitation": 2,
    "tools-call-sampling": 2,
    "tools-call-with-logging": 2,
    "tools-list": 3,
}

NEWER = {
    "dns-rebinding-protection",
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
    "json-schema-2020-12",
    "server-sse-multiple-streams",
    "server-sse-polling",
}
OLDER = {name: count for name, count in LEGACY.items() if name not in NEWER}
"""What can be driven at 2025-06-18."""

AUTHORIZATION = {
    "authorization-code-grant": 1,
    "authorization-server-metadata-endpoint": 2,
}

SUCCESSES: dict[str, dict[str, int]] = {
    "server-2025-11-25": LEGACY,
    "server-2026-07-28": {
        **SERVER_BOTH,
        **TASKS,
        "caching": 8,
        "http-custom-header-server-validation": 10,
        "http-header-validation": 14,
        "input-required-result-basic-elicitation": 3,
        "input-required-result-basic-list-roots": 3,
        "input-required-result-basic-sampling": 3,
        "input-required-result-capability-check": 2,
        "input-required-result-ignore-extra-params": 2,
        "input-required-result-missing-input-response": 2,
        "input-required-result-multi-round": 4,
        "input-required-result-multiple-input-requests": 3,
        "input-required-result-non-tool-request": 3,
        "input-required-result-request-state": 3,
        "input-required-result-result-type": 2,
        "input-required-result-tampered-state": 2,
        "input-required-result-unsupported-methods": 2,
        "input-required-result-validate-input": 3,
        "sep-2164-resource-not-found": 4,
        "server-stateless": 30,
        "tools-list": 4,
    },
    "server-skills-2026-07-28": {
        "sep-2640-skills-directory": 7,
        "sep-2640-skills-enumeration": 32,
        "sep-2640-skills-manifest": 6,
    },
    "server-all-2025-03-26": {"server-session-lifecycle": 3},
    "server-all-2025-06-18": {**OLDER, "tools-list": 2},
    "server-all-2025-11-25": LEGACY,
    "client-2025-11-25": {
        **AUTH_BOTH,
        # What counts differently with the handshake's requests before the first challenge.
        "auth/basic-cimd": 13,
        "auth/client-credentials-basic": 8,
        "auth/client-credentials-jwt": 8,
        "auth/dpop": 12,
        "auth/dpop-nonce": 14,
        "auth/enterprise-managed-authorization": 9,
        "auth/pre-registration": 13,
        "auth/scope-retry-limit": 10,
        "auth/scope-step-up": 22,
        "auth/wif-jwt-bearer": 8,
        "elicitation-sep1034-client-defaults": 5,
        "initialize": 1,
        "json-schema-2020-12-preservation": 9,
        "sse-retry": 3,
        "tools_call": 2,
    },
    "client-2026-07-28": {
        **AUTH_BOTH,
        **AUTH_MODERN,
        "http-custom-headers": 18,
        "http-invalid-tool-headers": 12,
        "http-standard-headers": 10,  # it skips the handshake, which no modern client sends
        "json-schema-2020-12-preservation": 9,
        "json-schema-ref-no-deref": 1,
        "request-metadata": 8,
        "sep-2322-client-request-state": 5,
        "tools_call": 2,
    },
    "client-backcompat-2025-03-26": {
        "auth/2025-03-26-oauth-endpoint-fallback": 7,
        "auth/2025-03-26-oauth-metadata-backcompat": 12,
    },
    "authorization-2025-11-25": AUTHORIZATION,
    "authorization-2026-07-28": AUTHORIZATION,
    "client-skills-2026-07-28": {
        "sep-2640-client-no-prefetch": 1,
        "sep-2640-client-verify-digest": 1,
        "sep-2640-client-verify-frontmatter": 1,
        "sep-2640-client-verify-size": 1,
    },
}

NOT_YET: dict[str, dict[str, str]] = {leg: {} for leg in SUCCESSES}
"""By leg: what does not pass, and why. None is the aim, and how it is."""
