//! After a switch of protocols: bytes both ways, until both sides have ended.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::proxy::Seat;
use crate::shutdown::Phase;
use crate::upstream::Held;

/// Joins the two sides once both have switched. The lease is given back when
/// the backend's side is closed.
pub(super) fn open(client: OnUpgrade, backend: OnUpgrade, held: Held, seat: &Arc<Seat>) {
    let phase = seat.proxy.shutdown.watch();
    let _task = tokio::spawn(async move {
        // Holds the socket's place among the open connections.
        let open = held.hold_open();
        let both = async {
            let (client, backend) = tokio::try_join!(client, backend).ok()?;
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            tokio::io::copy_bidirectional(&mut client, &mut backend).await.ok()
        };
        tokio::select! {
            _ = both => {}
            () = phase.reached(Phase::Stopped) => {}
        }
        drop(held);
        drop(open);
    });
}
