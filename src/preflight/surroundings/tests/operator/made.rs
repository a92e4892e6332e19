//! Tokens and configurations with them, for the tests of operator mode.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub(super) const OPERATOR: &str = "OCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOCS";
pub(super) const SECOND: &str = "OCATS5YOVB6ROX2WUNKGNQ2MP3GMXDMKSG2O4N5CLX3A6W4PZGZZI5WX";
pub(super) const A: &str = "ACFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYYOU";
pub(super) const B: &str = "ACATS5YOVB6ROX2WUNKGNQ2MP3GMXDMKSG2O4N5CLX3A6W4PZGZZIL2R";
pub(super) const SYS: &str = "ADWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435D6HD";

pub(super) fn token(body: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    format!("{}.{}.{}", part(&head), part(body), "c2ln")
}

pub(super) fn merged(base: &Value, more: &Value) -> Value {
    let mut merged = base.clone();
    for (field, value) in more.as_object().into_iter().flatten() {
        merged[field] = value.clone();
    }
    merged
}

/// An operator's token with these further fields of its own.
pub(super) fn operator(more: &Value) -> String {
    let nats = json!({"type": "operator", "version": 2, "system_account": SYS});
    let nats = merged(&nats, more);
    token(&json!({"sub": OPERATOR, "iss": OPERATOR, "name": "O", "nats": nats}))
}

/// An account's token with these limits and further fields.
pub(super) fn account(key: &str, limits: &Value, more: &Value) -> String {
    let nats = json!({"type": "account", "version": 2, "limits": limits});
    let body =
        json!({"sub": key, "iss": OPERATOR, "name": "orders", "jti": "1", "iat": 10, "nats": nats});
    token(&merged(&body, more))
}

pub(super) fn unlimited() -> Value {
    json!({"disk_storage": -1, "mem_storage": -1})
}

pub(super) fn system() -> String {
    account(SYS, &json!({}), &json!({}))
}

/// A configuration: JetStream in line 1, the operator in line 2, the resolver in line 3, the preloaded in line 4.
pub(super) fn config(
    jetstream: &str,
    operator: &str,
    resolver: &str,
    preload: &[(&str, &str)],
) -> String {
    let preload: Vec<String> = preload
        .iter()
        .map(|(key, token)| format!("{key}: {token:?}"))
        .collect();
    format!(
        "jetstream {{ store_dir: /data{jetstream} }}\noperator: {operator:?}\nresolver: {resolver}\nresolver_preload {{ {} }}\n",
        preload.join(", ")
    )
}

/// With a resolver in memory, the system account and this token of A.
pub(super) fn with(token: &str) -> String {
    let system = system();
    let preload = [(SYS, system.as_str()), (A, token)];
    config("", &operator(&json!({})), "MEMORY", &preload)
}
