//! Who a caller is to the messaging schema: a user with an account, or a portal customer.
//!
//! In: the claims of a token. Out: the id that the schema's functions work out of the same claims, so that what the
//! server keeps about a person is found under the id that the policies look for.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::policy::Claims;

/// One person, whatever number of devices they use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Person {
    /// Somebody with an account, by `users.id`.
    User(Uuid),
    /// A portal customer, by `customers.id`.
    Customer(Uuid),
}

/// The claims that say who somebody is.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    customer_id: Value,
    #[serde(default)]
    app_metadata: Value,
}

impl Person {
    /// The person that a token is about; `None` where it is about nobody, as those of servers are.
    ///
    /// A claim `customer_id`, its own or one of `app_metadata`, wins over `sub`. An id that is no UUID makes nobody
    /// of the token: the database would refuse it too.
    pub fn of(claims: &Claims) -> Option<Self> {
        let body: Body = serde_json::from_str(&claims.json).ok()?;
        let customer = [&body.customer_id, &body.app_metadata["customer_id"]];
        match customer.into_iter().find_map(text) {
            Some(customer) => id(&customer).map(Self::Customer),
            None => id(&text(&body.sub)?).map(Self::User),
        }
    }

    /// The id, if it is a user.
    pub fn user_id(self) -> Option<Uuid> {
        match self {
            Self::User(id) => Some(id),
            Self::Customer(_) => None,
        }
    }

    /// The id, if it is a customer.
    pub fn customer_id(self) -> Option<Uuid> {
        match self {
            Self::User(_) => None,
            Self::Customer(id) => Some(id),
        }
    }

    /// The id, whatever it is of.
    pub fn id(self) -> Uuid {
        match self {
            Self::User(id) | Self::Customer(id) => id,
        }
    }
}

/// A claim as SQL's `->>` has it.
fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn id(text: &str) -> Option<Uuid> {
    // A form that Postgres does not know.
    let is_urn = text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"));
    Uuid::try_parse(text).ok().filter(|_| !is_urn)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "5d5c9f8e-2f5c-4b0e-8a43-6f2c0f1d7a11";
    const CUSTOMER: &str = "c3c1d9f0-7e1b-4d2f-9b1a-1f2e3d4c5b6a";

    fn of(body: Value) -> Option<Person> {
        let claims = Claims { role: "authenticated".into(), json: body.to_string().into(), expires_at: 0 };
        Person::of(&claims)
    }

    fn uuid(text: &str) -> Uuid {
        Uuid::try_parse(text).unwrap()
    }

    #[test]
    fn a_subject_is_a_user() {
        let person = of(serde_json::json!({ "sub": USER, "app_metadata": { "role": "staff" } }));
        assert_eq!(person, Some(Person::User(uuid(USER))));
        assert_eq!((person.unwrap().user_id(), person.unwrap().customer_id()), (Some(uuid(USER)), None));
    }

    #[test]
    fn a_customer_id_wins_over_the_subject() {
        let expected = Some(Person::Customer(uuid(CUSTOMER)));
        assert_eq!(of(serde_json::json!({ "sub": USER, "customer_id": CUSTOMER })), expected);
        let nested = serde_json::json!({ "sub": USER, "app_metadata": { "customer_id": CUSTOMER } });
        assert_eq!(of(nested), expected);
        let both = serde_json::json!({ "customer_id": CUSTOMER, "app_metadata": { "customer_id": USER } });
        assert_eq!(of(both), expected);
    }

    #[test]
    fn who_has_no_id_is_nobody() {
        for body in [
            serde_json::json!({}),
            serde_json::json!({ "sub": null, "customer_id": null, "app_metadata": null }),
            serde_json::json!({ "sub": "" }),
            serde_json::json!({ "sub": "somebody" }),
            serde_json::json!({ "sub": 5 }),
            // What the database would refuse is not taken for the user.
            serde_json::json!({ "sub": USER, "customer_id": "none" }),
            serde_json::json!({ "sub": USER, "customer_id": "" }),
            serde_json::json!({ "sub": format!("urn:uuid:{USER}") }),
        ] {
            assert_eq!(of(body.clone()), None, "{body}");
        }
    }
}
