//! What `rowcast dev` puts on the screen once it serves.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::Error;
use crate::cli::token::{claims, sign};
use crate::config::Secret;

use super::demo::{ANN, BOB};

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// One of the staff, as `app_metadata` says.
const STAFF: &str = "50000000-0000-4000-8000-000000000001";
/// A customer, who has no account.
const CUSTOMER: &str = "d0000000-0000-4000-8000-000000000001";

/// Two keys for clients, and tokens of people, valid for ten years.
pub(super) struct Keys {
    anon: String,
    service: String,
    ann: String,
    bob: String,
    staff: String,
    customer: String,
}

impl Keys {
    pub(super) fn sign(secret: &Secret, now: Duration) -> Result<Self, Error> {
        let with = |role: &str, sub, (name, value): (&str, Value)| {
            let mut claims = claims(role, sub, now, TEN_YEARS);
            claims.insert(name.to_owned(), value);
            sign(secret, &claims)
        };
        let token = |role: &str, sub| sign(secret, &claims(role, sub, now, TEN_YEARS));
        Ok(Self {
            anon: token("anon", None)?,
            service: token("service_role", None)?,
            ann: token("authenticated", Some(ANN))?,
            bob: token("authenticated", Some(BOB))?,
            staff: with("authenticated", Some(STAFF), ("app_metadata", json!({ "role": "staff" })))?,
            customer: with("authenticated", None, ("customer_id", json!(CUSTOMER)))?,
        })
    }

    /// The key that everybody may know.
    pub(super) fn anon(&self) -> &str {
        &self.anon
    }
}

/// The same as variables, as the examples and the stock clients' documentation name them.
pub(super) fn environment(address: SocketAddr, keys: &Keys) -> String {
    format!(
        "\
# Written by `rowcast dev` at each start.
SUPABASE_URL=http://{address}
SUPABASE_ANON_KEY={anon}
SUPABASE_SERVICE_ROLE_KEY={service}
ANN_TOKEN={ann}
BOB_TOKEN={bob}
STAFF_TOKEN={staff}
CUSTOMER_TOKEN={customer}
",
        anon = keys.anon,
        service = keys.service,
        ann = keys.ann,
        bob = keys.bob,
        staff = keys.staff,
        customer = keys.customer,
    )
}

/// A first client: prints every message that ann may see, which stands in this column.
pub(super) fn client(address: SocketAddr, keys: &Keys, column: &str) -> String {
    format!(
        "\
// Prints each new message that ann may see.
import {{ createClient }} from '@supabase/supabase-js'
import ws from 'ws' // Node 22 and browsers have a WebSocket of their own

const anonKey = '{anon}'
const annToken = '{ann}'

const supabase = createClient('http://{address}', anonKey, {{
  accessToken: async () => annToken,
  realtime: {{ transport: ws }},
}})
await supabase.realtime.setAuth() // so that the first join carries ann's token already

supabase
  .channel('demo')
  .on('postgres_changes', {{ event: 'INSERT', schema: 'public', table: 'messages' }}, (change) => {{
    console.log('message:', change.new.{column})
  }})
  .subscribe((status, error) => console.log(status, error?.message ?? ''))
",
        anon = keys.anon,
        ann = keys.ann,
    )
}

/// Where it serves, and with which keys; `environment` is the file that has them, too.
pub(super) fn head(address: SocketAddr, url: &str, keys: &Keys, environment: &Path) -> String {
    format!(
        "
Rowcast serves realtime on http://{address}

  anon key      {anon}
  service key   {service}
  ann's token   {ann}
  bob's token   {bob}
  Postgres      {url}

The keys and tokens are in {file}, too, for programs.
",
        anon = keys.anon,
        service = keys.service,
        ann = keys.ann,
        bob = keys.bob,
        file = environment.display(),
    )
}

/// The first client, how it is run, and how bob writes meanwhile.
pub(super) fn first_client(client: &str, path: &Path, write: &str) -> String {
    let folder = path.parent().unwrap_or(Path::new("."));
    format!(
        "\
A first client, also in {file}:

{client}
Run it in a second terminal:

  npm install --prefix {folder} @supabase/supabase-js ws
  node {file}

In a third one, let bob write to ann, who sees it at once:

{write}
",
        file = path.display(),
        folder = folder.display(),
    )
}

/// How bob writes; `flag` is what `rowcast dev --say` needs to find this directory again.
pub(super) fn write(flag: Option<&str>) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "rowcast".to_owned());
    let flag = flag.map(|flag| format!(" {flag}")).unwrap_or_default();
    format!("  {program} dev{flag} --say \"hello\"")
}
