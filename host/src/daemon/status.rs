//! What the running daemon says of its sets: a socket in its state directory, from which `guestd plugins` reads. Whoever connects is
//! told, as one line of JSON, and asks nothing; only the daemon's user can connect.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use guestd_sdk::errno_text;
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::core::Core;

/// The socket's name.
const NAME: &str = "guestd.status";
/// How long either side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The wait after a failed accept, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The longest status that is read, in bytes.
const MAX_STATUS: u64 = 1 << 20;

/// What a set is in the daemon that runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SetStatus {
    /// `not-started`, `started`, `failed`, `off` or `busy`.
    pub state: String,
    /// Why it cannot be called, if it cannot: a sentence.
    pub reason: Option<String>,
}

/// The sets of the daemon with this state directory; `None`: none runs there.
pub fn ask(state_dir: &Path) -> Option<BTreeMap<String, SetStatus>> {
    let stream = UnixStream::connect(state_dir.join(NAME)).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    let mut text = String::new();
    stream.take(MAX_STATUS).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Tells whoever connects, for ever. Without a socket nobody is told, and the log says why.
pub async fn serve(core: Arc<Core>) {
    let path = core.state().dir().join(NAME);
    let listener = match listen(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!("`guestd plugins` cannot ask this daemon: {}: {}", path.display(), errno_text(&error));
            return;
        }
    };
    let _file = SocketFile(path);
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                // A new connection has room for it. Who does not read it does not want it.
                let _ = timeout(TIMEOUT, client.writable()).await;
                let _ = client.try_write(core.status_json().as_bytes());
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon has this state directory")),
        // Of a daemon that was killed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The socket's file, which goes with the daemon.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing can be done about a failure at the end.
        let _ = fs::remove_file(&self.0);
    }
}
