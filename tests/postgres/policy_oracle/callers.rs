//! Who asks: claims of every kind, well-formed and not.

use std::sync::Arc;

use serde_json::{Value, json};

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    /// The database role.
    pub(crate) role: Arc<str>,
    /// The setting `request.jwt.claims`.
    pub(crate) claims: Arc<str>,
}

impl Caller {
    /// With this role and this very setting.
    pub(crate) fn new(role: &str, claims: &str) -> Self {
        Self { role: role.into(), claims: claims.into() }
    }
}

/// The identifier of a user.
pub(crate) fn uuid(number: usize) -> String {
    format!("00000000-0000-0000-0000-00000000000{number:x}")
}

/// Puts identifiers of users in place of `{1}` to `{9}`.
pub(crate) fn fill(sql: &str) -> String {
    (1..=9).fold(sql.to_owned(), |sql, number| sql.replace(&format!("{{{number}}}"), &uuid(number)))
}

/// With these members besides the role, as the verified body of a token.
pub(crate) fn signed(role: &str, members: Value) -> Caller {
    let Value::Object(mut body) = members else { panic!("claims are an object") };
    body.insert("role".to_owned(), role.into());
    Caller::new(role, &Value::Object(body).to_string())
}

/// A signed-in user.
pub(crate) fn user(number: usize) -> Caller {
    signed("authenticated", json!({ "sub": uuid(number) }))
}

/// Those whom most situations are tried with.
pub(crate) fn usual() -> Vec<Caller> {
    vec![
        user(1),
        user(2),
        user(3),
        signed(
            "authenticated",
            json!({"sub": uuid(1), "email": "Ann@x.test", "org_id": uuid(7), "aal": "aal2"}),
        ),
        signed(
            "authenticated",
            json!({"sub": uuid(2), "email": "bob@x.test", "org_id": uuid(8), "aal": "aal1",
            "app_metadata": {"role": "admin", "tenants": ["a", "b"]}}),
        ),
        signed("authenticated", json!({"sub": uuid(4), "app_metadata": {"role": null, "tenants": "a"}})),
        signed("authenticated", json!({"app_metadata": null, "org_id": null})),
        signed("anon", json!({})),
        signed("service_role", json!({})),
    ]
}

/// Claims that are odd in some way, for `role`; `number` is who would be meant.
pub(crate) fn odd(role: &str, number: usize) -> Vec<Caller> {
    let id = uuid(number);
    let plain = id.replace('-', "");
    let subject = |text: &str| json!({ "sub": text }).to_string();
    let texts = [
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        format!("[\"{id}\"]"),
        "7".to_owned(),
        format!("\"{id}\""),
        "not json".to_owned(),
        "{".to_owned(),
        " ".to_owned(),
        format!("{{\"sub\": \"{id}\"}} x"),
        format!("{{\"sub\": \"bad\", \"sub\": \"{id}\"}}"),
        format!("{{\"sub\": \"{id}\", \"sub\": \"bad\"}}"),
        "{\"sub\": null}".to_owned(),
        "{\"sub\": 7}".to_owned(),
        "{\"sub\": {}}".to_owned(),
        "{\"sub\": [1]}".to_owned(),
        "{\"sub\": true}".to_owned(),
        subject(""),
        subject("bad"),
        subject(&id.to_uppercase()),
        subject(&format!("{{{id}}}")),
        subject(&plain),
        subject(&format!("{}-{}", &plain[..4], &plain[4..])),
        subject(&format!("{}-{}", &plain[..5], &plain[5..])),
        subject(&format!(" {id}")),
        subject(&format!("{id}\n")),
        subject(&format!("{id}0")),
        format!("{{\"sub\": \"{id}\", \"org_id\": \"bad\"}}"),
        format!("{{\"sub\": \"{id}\", \"email\": \"a\\u0000b\"}}"),
        format!("{{\"sub\": \"{id}\", \"level\": 1e2, \"big\": 9007199254740993, \"one\": 1.0}}"),
        format!("\n{{\"sub\"\t: \"{id}\" }}\n"),
    ];
    texts.iter().map(|text| Caller::new(role, text)).collect()
}
