//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second insists.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Error;

/// Both signals, caught from now on.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to catch them.
    pub(super) fn catch() -> Result<Self, Error> {
        let catch = |kind| signal(kind).map_err(|error| Error::failed(&error));
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Resolves at the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Runs `serve`, which gets a future that resolves at the first signal; a second one ends the wait for it.
    pub(super) async fn run<F, E>(
        mut self,
        serve: impl FnOnce(tokio::sync::oneshot::Receiver<()>) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), E>>,
        Error: From<E>,
    {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let mut serving = std::pin::pin!(serve(stopped));
        tokio::select! {
            result = &mut serving => return Ok(result?),
            () = self.next() => {}
        }
        // The receiver may be gone if serving ends at this very moment.
        let _ = stop.send(());
        tokio::select! {
            result = &mut serving => Ok(result?),
            () = self.next() => {
                Err(Error::failed(&std::io::Error::other("stopped by a second signal before every socket was closed")))
            }
        }
    }
}
