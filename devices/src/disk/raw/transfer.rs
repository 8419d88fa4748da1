#![expect(
    unsafe_code,
    reason = "no safe preadv takes memory that the guest changes meanwhile"
)]
//! Vectored file I/O straight from and to guest RAM.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_int, iovec, off_t};
use vm_memory::VolatileSlice;

/// Buffers per system call. A block request has fewer, and the kernel takes up to 1024.
const BATCH: usize = 256;

/// Fills all of `buffers` from `offset` on.
pub(super) fn read_exact_at(
    file: &File,
    buffers: &[VolatileSlice<'_>],
    offset: u64,
) -> io::Result<()> {
    transfer(
        buffers,
        offset,
        ErrorKind::UnexpectedEof,
        |iovecs, offset| {
            // SAFETY: `transfer` passes only memory within `buffers`, which stays mapped and which no
            // Rust reference points to.
            unsafe {
                libc::preadv(
                    file.as_raw_fd(),
                    iovecs.as_ptr(),
                    iovecs.len() as c_int,
                    offset,
                )
            }
        },
    )
}

/// Writes all of `buffers` from `offset` on.
pub(super) fn write_all_at(
    file: &File,
    buffers: &[VolatileSlice<'_>],
    offset: u64,
) -> io::Result<()> {
    transfer(buffers, offset, ErrorKind::WriteZero, |iovecs, offset| {
        // SAFETY: as in `read_exact_at`; the kernel only reads.
        unsafe {
            libc::pwritev(
                file.as_raw_fd(),
                iovecs.as_ptr(),
                iovecs.len() as c_int,
                offset,
            )
        }
    })
}

/// Repeats `call` until all of `buffers` went through it: the kernel may move less than was asked.
/// `at_end` is the error if it moves nothing.
fn transfer(
    mut buffers: &[VolatileSlice<'_>],
    mut offset: u64,
    at_end: ErrorKind,
    call: impl Fn(&[iovec], off_t) -> isize,
) -> io::Result<()> {
    let mut iovecs = [iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    // How much of the first buffer is done.
    let mut done = 0;
    while let [first, rest @ ..] = buffers {
        if done == first.len() {
            (buffers, done) = (rest, 0);
            continue;
        }
        let count = buffers.len().min(BATCH);
        for (iovec, buffer) in iovecs.iter_mut().zip(buffers) {
            let guard = buffer.ptr_guard_mut();
            *iovec = iovec {
                iov_base: guard.as_ptr().cast(),
                iov_len: buffer.len(),
            };
        }
        iovecs[0].iov_base = iovecs[0].iov_base.wrapping_byte_add(done);
        iovecs[0].iov_len -= done;
        let at = off_t::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
        let mut moved = match call(&iovecs[..count], at) {
            0 => return Err(at_end.into()),
            moved if moved > 0 => moved as usize,
            _ => match io::Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => continue,
                error => return Err(error),
            },
        };
        offset += moved as u64;
        while moved >= buffers[0].len() - done {
            moved -= buffers[0].len() - done;
            (buffers, done) = (&buffers[1..], 0);
            if buffers.is_empty() {
                return Ok(());
            }
        }
        done += moved;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
