//! Real gateways in front: the Caddyfile of the compose file, and the page's configuration for nginx.
//!
//! Where a gateway is not on the machine, its test says so and passes.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::stage::server::{self, LOOK_AGAIN, Reaper, http_get};
use crate::stage::{ANN, BOB, PATIENCE, RawClient, Stage, TestServer, Vsn, skip};
use crate::support::scratch;

/// A gateway's process on a free port; killed when dropped.
struct Gateway {
    address: SocketAddr,
    process: Child,
    _reaper: Reaper,
    files: PathBuf,
}

impl Gateway {
    async fn start(mut command: Command, address: SocketAddr, files: PathBuf) -> Self {
        let process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let _reaper = Reaper::of(&process);
        let mut gateway = Self { address, process, _reaper, files };
        let started = Instant::now();
        while http_get(address, "/").is_none() {
            let ended = gateway.process.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < PATIENCE,
                "the gateway does not answer: {ended:?}"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        gateway
    }

    /// Caddy with the compose file's own configuration.
    async fn caddy(program: &Path, rowcast: SocketAddr, rest: SocketAddr) -> Self {
        let (address, files) = (free_port(), scratch("caddy"));
        let mut command = Command::new(program);
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/Caddyfile"))
            .env("LISTEN", format!(":{}", address.port()))
            .env("ROWCAST", rowcast.to_string())
            .env("REST", rest.to_string())
            .env("XDG_DATA_HOME", &files)
            .env("XDG_CONFIG_HOME", &files);
        Self::start(command, address, files).await
    }

    /// nginx with the page's configuration, which only learns where everybody is.
    async fn nginx(program: &Path, rowcast: SocketAddr, rest: SocketAddr) -> Self {
        let (address, files) = (free_port(), scratch("nginx"));
        std::fs::create_dir_all(&files).unwrap();
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gateways.md")).unwrap();
        let block = page.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let block = block
            .replace("rowcast:4000", &rowcast.to_string())
            .replace("rest:3000", &rest.to_string())
            .replace("listen 8000", &format!("listen {address}"));
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", files.display()))
            .concat();
        let text = format!(
            "daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log;\n\
             events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{paths}{block}}}\n",
            files.display()
        );
        let config = files.join("nginx.conf");
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(config).arg("-e").arg(files.join("error.log"));
        Self::start(command, address, files).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // nginx's workers end with their master only if it may tell them.
        server::send(&self.process, nix::sys::signal::Signal::SIGTERM);
        let _ = self.process.wait();
        // It may have made none.
        let _ = std::fs::remove_dir_all(&self.files);
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).unwrap()
}

/// Where a program is, if it is.
fn find(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        let note = format!("skipped: {name} is not here (Debian, Ubuntu: apt-get install {package})");
        skip(&note);
    }
    found
}

/// In the place of PostgREST: answers with what it was asked for.
fn rest() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The whole head: to close with bytes unread would take the answer back.
            let head: Vec<String> = BufReader::new(&stream)
                .lines()
                .map(Result::unwrap_or_default)
                .take_while(|line| !line.is_empty())
                .collect();
            let target = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let length = target.len();
            // A gateway that has gone does not want its answer.
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{target}"
            );
        }
    });
    address
}

const NOTES: &str = "
    create table notes (id int primary key);
    grant select on notes to authenticated;
    alter publication supabase_realtime add table notes;";

/// Everything that clients do through a gateway, and what they must not do.
async fn serves_everything(stage: &Stage, gateway: &Gateway) {
    let url = format!("http://{}", gateway.address);
    let changes = json!([{ "event": "INSERT", "schema": "public", "table": "notes" }]);
    for (who, sub) in [("ann", ANN), ("bob", BOB)] {
        let token = server::token("authenticated", Some(sub));
        for client in &stage.clients {
            client.connect(who, &url, Some(&token)).await;
            client.subscribe(who, "notes", changes.clone()).await;
        }
        for client in &stage.clients {
            client.expect_subscribed(who, "notes").await;
        }
    }
    stage.database.execute("insert into notes values (1)").await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 1).await, [1], "{:?}", client.stock);
        let from = format!("{:?}", client.stock);
        let order = json!({ "do": "send", "as": "ann", "topic": "notes", "event": "said", "payload": { "from": from } });
        client.order(order).await;
        client.expect(json!({ "as": "bob", "kind": "broadcast", "payload": { "from": from } })).await;
    }

    let through = |path: &str| http_get(gateway.address, path).unwrap();
    assert_eq!(through("/rest/v1/notes?select=id"), (200, "/notes?select=id".to_owned()));
    for path in ["/realtime/v1/api/tenants", "/realtime/v1/api/tenants/realtime-dev/health"] {
        assert_eq!(through(path).0, 403, "{path}");
    }
    // A frame of the largest size, and a refusal, go through as they are.
    let token = server::token("authenticated", Some(ANN));
    let behind = |vsn: Vsn, token: &str| {
        let target = format!("/realtime/v1/websocket?apikey={token}&vsn=1.0.0");
        let server = gateway.address;
        async move { RawClient::open_at(server, vsn, &target, &[]).await }
    };
    let mut client = behind(Vsn::V1, &token).await.unwrap();
    client.joined("1", "realtime:large", json!({ "broadcast": { "self": true } })).await;
    let large = json!({ "type": "broadcast", "event": "large", "payload": { "x": "x".repeat(2_900_000) } });
    client.push(json!("1"), json!("2"), "realtime:large", "broadcast", large.clone()).await;
    client.expect(json!([null, null, "realtime:large", "broadcast", large])).await;
    assert!(behind(Vsn::V1, "garbage").await.err().unwrap().to_string().contains("401"));
}

/// The server's close reaches clients, which come back by themselves.
async fn goes_down_in_order(stage: &mut Stage, gateway: &Gateway) {
    let token = server::token("authenticated", Some(ANN));
    let target = format!("/realtime/v1/websocket?apikey={token}&vsn=2.0.0");
    let mut client = RawClient::open_at(gateway.address, Vsn::V2, &target, &[]).await.unwrap();
    client.joined("1", "realtime:room", json!({})).await;
    let server: &mut TestServer = &mut stage.server;
    let (status, ()) = tokio::join!(server.end(nix::sys::signal::Signal::SIGTERM), async {
        assert_eq!(client.until("system").await[4]["message"], "Server requested disconnect");
        client.expect(json!({ "closed": 1012 })).await;
    });
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn caddy_of_the_compose_file_lets_clients_do_everything() {
    let Some(program) = find("caddy", "caddy") else { return };
    let mut stage = Stage::set(NOTES).await;
    let gateway = Gateway::caddy(&program, stage.server.address, rest()).await;
    serves_everything(&stage, &gateway).await;
    goes_down_in_order(&mut stage, &gateway).await;
}

#[tokio::test]
async fn nginx_of_the_page_lets_clients_do_everything() {
    let Some(program) = find("nginx", "nginx-light") else { return };
    let mut stage = Stage::set(NOTES).await;
    let gateway = Gateway::nginx(&program, stage.server.address, rest()).await;
    serves_everything(&stage, &gateway).await;
    goes_down_in_order(&mut stage, &gateway).await;
}
