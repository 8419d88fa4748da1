use proptest::prelude::*;

use super::*;

const SECTORS: u8 = 3;
const OFFSET: u32 = 40;

/// A bzImage with this payload.
fn image(payload: &[u8]) -> Vec<u8> {
    let start = (usize::from(SECTORS) + 1) * SECTOR_BYTES + OFFSET as usize;
    let mut image = vec![0xaa; start];
    image[SETUP_SECTORS] = SECTORS;
    put(&mut image, HEADER_MAGIC, *b"HdrS");
    put(&mut image, PROTOCOL, [0x0f, 0x02, 0, 0]);
    put(&mut image, PAYLOAD_OFFSET, OFFSET.to_le_bytes());
    put(
        &mut image,
        PAYLOAD_LENGTH,
        (payload.len() as u32).to_le_bytes(),
    );
    image.extend(payload);
    image.extend(b"what follows the payload");
    image
}

fn put(image: &mut [u8], at: usize, bytes: [u8; 4]) {
    image[at..at + 4].copy_from_slice(&bytes);
}

/// Something that starts like a kernel and is worth compressing.
fn elf() -> Vec<u8> {
    let mut elf = b"\x7fELF".to_vec();
    elf.extend((0..100_000u32).flat_map(|i| (i / 100).to_le_bytes()));
    elf
}

fn with_length(mut packed: Vec<u8>, length: usize) -> Vec<u8> {
    packed.extend((length as u32).to_le_bytes());
    packed
}

/// LZ4's legacy frames: a magic number, then blocks with their lengths.
fn lz4(data: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x02, 0x21, 0x4c, 0x18];
    for block in data.chunks(8 << 20) {
        let block = lz4_flex::block::compress(block);
        packed.extend((block.len() as u32).to_le_bytes());
        packed.extend(block);
    }
    packed
}

/// Packs with a tool of the host.
fn packed_by(tool: Tool, options: &[&str], data: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(data).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    tool.output(
        tool.command()
            .args(options)
            .arg("-c")
            .stdin(Stdio::from(file)),
    )
    .unwrap()
}

#[test]
fn every_supported_compression_is_undone() {
    let elf = elf();
    let packed = [
        with_length(lz4(&elf), elf.len()),
        with_length(packed_by(XZ, &["--check=crc32"], &elf), elf.len()),
        with_length(packed_by(ZSTD, &["-q"], &elf), elf.len()),
        packed_by(GZIP, &["-n"], &elf),
    ];
    for payload in packed {
        assert!(
            extract(&image(&payload)).unwrap() == elf,
            "{:02x?}",
            &payload[..4]
        );
    }
}

#[test]
fn a_kernel_longer_than_one_lz4_block_is_unpacked() {
    let mut elf = elf();
    elf.resize((8 << 20) + 1, 7);
    assert!(extract(&image(&with_length(lz4(&elf), elf.len()))).unwrap() == elf);
}

#[test]
fn unsupported_compressions_are_named() {
    for (magic, name) in [
        (*b"BZh9", "bzip2"),
        ([0x5d, 0, 0, 0x80], "lzma"),
        ([0x89, b'L', b'Z', b'O'], "lzo"),
    ] {
        let error = extract(&image(&with_length(magic.to_vec(), 0))).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("its compression is not supported: {name}")
        );
    }
    let error = extract(&image(b"what is this?")).unwrap_err();
    assert!(matches!(error, VmlinuxError::UnknownCompression(magic) if magic == *b"what"));
}

#[test]
fn what_is_no_bzimage_is_refused() {
    for bytes in [&b""[..], b"\x7fELF", &[0; HEADER_MAGIC + 3], &[0; 4096]] {
        assert!(matches!(extract(bytes), Err(VmlinuxError::NotBzImage)));
    }
    let mut old = image(b"");
    put(&mut old, PROTOCOL, [0x07, 0x02, 0, 0]);
    assert!(matches!(
        extract(&old),
        Err(VmlinuxError::OldProtocol(0x207))
    ));
}

#[test]
fn a_truncated_image_is_refused_wherever_it_ends() {
    let elf = elf();
    let payload = with_length(lz4(&elf), elf.len());
    let whole = image(&payload);
    let end = whole.len() - b"what follows the payload".len();
    assert!(extract(&whole[..end]).is_ok());
    let error = extract(&whole[..end - 1]).unwrap_err();
    let (e, len) = (end, end - 1);
    assert_eq!(
        error.to_string(),
        format!("it is truncated: the kernel proper is said to end at byte {e} of {len}")
    );
    for cut in [
        HEADER_MAGIC + 4,
        PAYLOAD_LENGTH + 3,
        PAYLOAD_LENGTH + 4,
        2 * SECTOR_BYTES,
    ] {
        assert!(
            matches!(extract(&whole[..cut]), Err(VmlinuxError::Truncated { .. })),
            "{cut}"
        );
    }
}

#[test]
fn a_damaged_kernel_is_refused() {
    let elf = elf();
    let error = extract(&image(&with_length(lz4(&elf), elf.len() + 1))).unwrap_err();
    assert!(matches!(error, VmlinuxError::Length { expected, found } if expected == found + 1));
    let error = extract(&image(&with_length(lz4(b"no ELF"), 6))).unwrap_err();
    assert!(matches!(error, VmlinuxError::NotElf));
    let mut packed = lz4(&elf);
    packed.truncate(packed.len() / 2);
    let error = extract(&image(&with_length(packed, elf.len()))).unwrap_err();
    assert!(matches!(error, VmlinuxError::Unpack(_)), "{error}");
    let mut packed = packed_by(XZ, &[], &elf);
    packed.truncate(packed.len() / 2);
    let error = extract(&image(&with_length(packed, elf.len()))).unwrap_err();
    assert!(
        matches!(error, VmlinuxError::Tool(ToolError::Failed { .. })),
        "{error}"
    );
}

proptest! {
    #[test]
    fn no_image_is_too_strange(
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        fields in any::<[u32; 2]>(),
        sectors: u8,
        cut in 0usize..4096,
    ) {
        let mut image = image(&[&[0x02, 0x21, 0x4c, 0x18], &payload[..]].concat());
        let _ = extract(&image);
        image[SETUP_SECTORS] = sectors;
        put(&mut image, PAYLOAD_OFFSET, fields[0].to_le_bytes());
        put(&mut image, PAYLOAD_LENGTH, fields[1].to_le_bytes());
        let _ = extract(&image);
        let _ = extract(&image[..cut.min(image.len())]);
    }
}
