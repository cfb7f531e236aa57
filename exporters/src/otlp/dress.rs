//! Stored requests → bodies for the wire.
//!
//! What waits on disk is protobuf whatever leaves: so a queue outlives a change of `encoding`, folding reads one form, and JSON is made
//! only of what is sent.

use std::sync::Arc;

use pipeline::spool::Stored;
use pipeline::{BoxFuture, Fault};
use tokio::sync::Mutex;

use super::pack::{Form, Packer};
use crate::delivery::{Dress, Dressed};

/// Makes bodies of what was stored.
pub(super) enum Dresser {
    /// Of the bytes as they are.
    AsStored(Arc<Packer>),
    /// Anew, which takes a while for a large one: off the threads that serve, and one at a time, so that no couriers' crowd waits on
    /// threads.
    Anew(Arc<Mutex<Packer>>),
}

impl Dresser {
    /// Bodies as `packer` makes them of batches.
    ///
    /// # Errors
    /// When compression cannot be set up.
    pub(super) fn new(packer: &Arc<Packer>) -> std::io::Result<Self> {
        Ok(match packer.form() {
            Form::Protobuf | Form::Message => Self::AsStored(packer.clone()),
            // Of its own: whoever stores a batch meanwhile is not to wait.
            Form::Json => Self::Anew(Arc::new(Mutex::new(packer.twin()?))),
        })
    }
}

impl Dress for Dresser {
    fn dress(&self, stored: &Stored) -> BoxFuture<'static, Result<Dressed, String>> {
        let (signal, body, encoding) = (stored.signal, stored.body.clone(), stored.encoding);
        match self {
            Self::AsStored(packer) => Box::pin(std::future::ready(packer.dress(signal, body, encoding))),
            Self::Anew(packer) => {
                let packer = packer.clone();
                Box::pin(async move {
                    let packer = packer.lock_owned().await;
                    let dressing = tokio::task::spawn_blocking(move || packer.dress(signal, body, encoding));
                    dressing
                        .await
                        .unwrap_or_else(|error| Err(Fault::new("a body broke off").caused_by(error).to_string()))
                })
            }
        }
    }
}
