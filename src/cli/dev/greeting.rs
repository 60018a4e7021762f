//! What `rowcast dev` puts on the screen once it serves.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::cli::Error;
use crate::cli::token::{claims, sign};
use crate::config::Secret;

use super::demo::{ANN, BOB};

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Two keys for clients and a token for each of the demo's people, valid for ten years.
pub(super) struct Keys {
    anon: String,
    service: String,
    ann: String,
    bob: String,
}

impl Keys {
    pub(super) fn sign(secret: &Secret, now: Duration) -> Result<Self, Error> {
        let token = |role: &str, sub| sign(secret, &claims(role, sub, now, TEN_YEARS));
        Ok(Self {
            anon: token("anon", None)?,
            service: token("service_role", None)?,
            ann: token("authenticated", Some(ANN))?,
            bob: token("authenticated", Some(BOB))?,
        })
    }
}

/// A first client: prints every message that ann may see.
pub(super) fn client(address: SocketAddr, keys: &Keys) -> String {
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
    console.log('message:', change.new.body)
  }})
  .subscribe((status, error) => console.log(status, error?.message ?? ''))
",
        anon = keys.anon,
        ann = keys.ann,
    )
}

/// All of it; `flag` is what `rowcast dev --say` needs to find this directory again.
pub(super) fn greeting(
    address: SocketAddr,
    url: &str,
    keys: &Keys,
    client: &str,
    path: &Path,
    flag: Option<&str>,
) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "rowcast".to_owned());
    let flag = flag.map(|flag| format!(" {flag}")).unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new("."));
    format!(
        "
Rowcast serves realtime on http://{address}

  anon key      {anon}
  service key   {service}
  ann's token   {ann}
  bob's token   {bob}
  Postgres      {url}

A first client, also in {file}:

{client}
Run it in a second terminal:

  npm install --prefix {folder} @supabase/supabase-js ws
  node {file}

In a third one, let bob write to ann, who sees it at once:

  {program} dev{flag} --say \"hello\"

Ctrl-C stops it all.",
        anon = keys.anon,
        service = keys.service,
        ann = keys.ann,
        bob = keys.bob,
        file = path.display(),
        folder = folder.display(),
    )
}
