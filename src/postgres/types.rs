//! Reads types.
use crate::change::Types;
/// Reads all types.
pub async fn load_types(_client: &tokio_postgres::Client) -> Result<Types, tokio_postgres::Error> {
    Ok(Types::default())
}
