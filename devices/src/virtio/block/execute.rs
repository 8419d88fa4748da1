//! Carrying out block requests.

use std::sync::Arc;

use thiserror::Error;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
    VIRTIO_BLK_S_UNSUPP,
};

use super::super::chain::GuestBytes;
use super::super::service::ChainService;
use super::request::{Request, RequestError};
use crate::disk::{Disk, DiskError};

/// Carries out the requests of one queue.
pub struct BlockService {
    disk: Arc<dyn Disk>,
    /// The driver does not know of flushes: every write has to be durable at once.
    write_through: bool,
    stats: BlockStats,
}

/// What a queue has done so far.
#[derive(Debug, Default)]
struct BlockStats {
    requests: u64,
    read_bytes: u64,
    written_bytes: u64,
    faults: [u64; Fault::KINDS],
}

/// Why a request failed. The guest learns no more than the status.
#[derive(Debug, Error)]
enum Fault {
    #[error("the request has no room for its status")]
    NoStatus,
    #[error("the request is malformed")]
    Request(#[from] RequestError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Fault {
    const KINDS: usize = 6;

    /// Its place in the counters.
    fn kind(&self) -> usize {
        match self {
            Self::NoStatus => 0,
            Self::Request(_) => 1,
            Self::Disk(DiskError::OutOfRange { .. }) => 2,
            Self::Disk(DiskError::ReadOnly) => 3,
            Self::Disk(DiskError::Unsupported) => 4,
            Self::Disk(DiskError::Io(_)) => 5,
        }
    }

    fn status(&self) -> u32 {
        match self {
            Self::Request(RequestError::Type(_) | RequestError::Flags { .. })
            | Self::Disk(DiskError::Unsupported) => VIRTIO_BLK_S_UNSUPP,
            _ => VIRTIO_BLK_S_IOERR,
        }
    }
}

impl ChainService for BlockService {
    fn serve<'ram>(
        &mut self,
        readable: GuestBytes<'_, 'ram>,
        mut writable: GuestBytes<'_, 'ram>,
    ) -> u32 {
        self.stats.requests += 1;
        let Some(status) = writable.take_last() else {
            self.report(&Fault::NoStatus);
            return 0;
        };
        let room = writable.len();
        let result = Request::parse(readable, writable)
            .map_err(Fault::from)
            .and_then(|request| self.execute(request));
        let (code, written) = match result {
            Ok(written) => (VIRTIO_BLK_S_OK, written),
            Err(fault) => {
                self.report(&fault);
                (fault.status(), 0)
            }
        };
        status.copy_from(&[code as u8]);
        // The status counts only if there is no gap before it.
        if written == room {
            written + 1
        } else {
            written
        }
    }
}

impl BlockService {
    /// Serves `disk` to a driver that accepted `features`.
    pub fn new(disk: Arc<dyn Disk>, features: u64) -> Self {
        let write_through = features & 1 << VIRTIO_BLK_F_FLUSH == 0;
        Self {
            disk,
            write_through,
            stats: BlockStats::default(),
        }
    }

    /// Returns how many bytes of data were written into guest RAM.
    fn execute(&mut self, request: Request<'_, '_>) -> Result<u32, Fault> {
        match request {
            Request::Read { offset, data } => {
                self.disk.read_at(offset, data.slices())?;
                self.stats.read_bytes += u64::from(data.len());
                return Ok(data.len());
            }
            Request::GetId { data } => {
                let mut id = [0; VIRTIO_BLK_ID_BYTES as usize];
                let serial = self.disk.serial().as_bytes();
                let len = serial.len().min(id.len());
                id[..len].copy_from_slice(&serial[..len]);
                return Ok(data.write_front(&id));
            }
            Request::Flush => self.disk.flush()?,
            Request::Write { offset, data } => {
                self.disk.write_at(offset, data.slices())?;
                self.stats.written_bytes += u64::from(data.len());
                self.after_write()?;
            }
            Request::Discard(ranges) => {
                for range in ranges {
                    self.disk.discard(range.offset, range.len)?;
                }
            }
            Request::WriteZeroes(ranges) => {
                for range in ranges {
                    self.disk
                        .write_zeroes(range.offset, range.len, range.unmap)?;
                }
                self.after_write()?;
            }
        }
        Ok(0)
    }

    fn after_write(&self) -> Result<(), DiskError> {
        if self.write_through {
            self.disk.flush()
        } else {
            Ok(())
        }
    }

    /// Counts a fault, and logs the first of its kind.
    fn report(&mut self, fault: &Fault) {
        let count = &mut self.stats.faults[fault.kind()];
        *count += 1;
        if *count == 1 {
            let error: &dyn std::error::Error = fault;
            let disk = self.disk.serial();
            tracing::warn!(
                disk,
                error,
                "a request failed; further ones like it are only counted"
            );
        }
    }
}

impl Drop for BlockService {
    fn drop(&mut self) {
        tracing::debug!(disk = self.disk.serial(), stats = ?self.stats, "no more requests");
    }
}
