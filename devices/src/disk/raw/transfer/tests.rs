use std::cell::Cell;

use nix::errno::Errno;

use super::*;

/// Moves bytes as a kernel would that stops after at most `most` bytes, and interrupts every third
/// call. What is written goes into `file`.
fn lazy_kernel<'a>(
    file: &'a Cell<Vec<u8>>,
    calls: &'a Cell<usize>,
    most: usize,
) -> impl Fn(&[iovec], off_t) -> isize + 'a {
    move |iovecs, offset| {
        calls.set(calls.get() + 1);
        if calls.get().is_multiple_of(3) {
            Errno::EINTR.set();
            return -1;
        }
        let mut content = file.take();
        let mut moved = 0;
        for iovec in iovecs {
            for at in 0..iovec.iov_len {
                if moved == most {
                    break;
                }
                // SAFETY: `transfer` gives valid memory.
                let byte = unsafe { iovec.iov_base.cast::<u8>().add(at).read() };
                content[offset as usize + moved] = byte;
                moved += 1;
            }
        }
        file.set(content);
        moved as isize
    }
}

#[test]
fn short_and_interrupted_calls_are_continued() {
    for most in [1, 2, 3, 5, 7, 100] {
        for lens in [
            &[5, 1, 4][..],
            &[0, 3, 0, 0, 4, 0],
            &[1; 2 * BATCH + 1],
            &[],
        ] {
            let total: usize = lens.iter().sum();
            let mut data: Vec<u8> = (0..total).map(|at| at as u8).collect();
            let mut rest = &mut data[..];
            let mut buffers = Vec::new();
            for len in lens {
                let (now, later) = rest.split_at_mut(*len);
                buffers.push(VolatileSlice::from(now));
                rest = later;
            }
            let (file, calls) = (Cell::new(vec![0xff; total + 10]), Cell::new(0));
            let kernel = lazy_kernel(&file, &calls, most);
            transfer(&buffers, 10, ErrorKind::WriteZero, kernel).unwrap();
            assert_eq!(file.take()[10..], data, "{most} at a time");
        }
    }
}

#[test]
fn the_end_of_the_file_and_other_errors_end_it() {
    let mut data = [0; 8];
    let buffers = [VolatileSlice::from(&mut data[..])];
    let error = transfer(&buffers, 0, ErrorKind::UnexpectedEof, |_, _| 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let full = |_: &[iovec], _| {
        Errno::ENOSPC.set();
        -1
    };
    let error = transfer(&buffers, 0, ErrorKind::WriteZero, full).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn an_offset_that_files_do_not_have_is_an_error() {
    let mut data = [0; 8];
    let buffers = [VolatileSlice::from(&mut data[..])];
    let error = transfer(&buffers, u64::MAX, ErrorKind::WriteZero, |_, _| 8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
