//! Who is asking: the verified body of a token.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The verified body of a token. Cheap to clone through an [`Arc`]; equal when role and body are equal, so
/// that a question is asked once however many sockets hold the same token.
#[derive(Clone)]
pub struct Claims {
    /// The database role of the `role` claim. Not yet known to exist.
    pub role: Arc<str>,
    /// The whole body as JSON text with sorted keys: what policies read as `request.jwt.claims`.
    pub json: Arc<str>,
    /// The `exp` claim: seconds since the epoch.
    pub expires_at: i64,
}

impl PartialEq for Claims {
    fn eq(&self, other: &Self) -> bool {
        self.role == other.role && self.json == other.json
    }
}

impl Eq for Claims {}

impl Hash for Claims {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.json.hash(state);
    }
}

/// Claims never reach a log: only the role is printed.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("role", &self.role).finish_non_exhaustive()
    }
}
