//! Connections that come from another gateway: from a parcel to what they were there.
//!
//! Promises: what was read there is read first here. Whatever cannot be served is closed and told.
//! Must not know: how parcels travel.

use std::rc::Rc;

use super::local::Local;
use super::wire::Kept;
use crate::handover::record::{Parcel, Record};

/// Serves on what another gateway had.
pub(crate) fn adopt(local: &Rc<Local>, parcel: Parcel, kept: Kept) {
    match parcel.record {
        Record::Connection(_) | Record::Tunnel(_) | Record::Ledger(_) | Record::Unknown => {
            tracing::error!("cannot adopt a connection yet, closing it");
            drop(kept);
            local.depart_in_vain();
        }
    }
}
