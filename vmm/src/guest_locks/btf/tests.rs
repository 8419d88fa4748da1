use super::super::testing::BtfBuilder;
use super::*;

#[test]
fn records_are_read_one_after_the_other() {
    let mut btf = BtfBuilder::new();
    // Every kind, with what comes behind it.
    let lengths = [
        (1, 0, 1),
        (2, 0, 0),
        (3, 0, 3),
        (5, 2, 6),
        (6, 3, 6),
        (7, 0, 0),
        (8, 0, 0),
        (9, 0, 0),
        (10, 0, 0),
        (11, 0, 0),
        (13, 2, 4),
        (16, 0, 0),
        (17, 0, 1),
        (18, 0, 0),
        (19, 2, 6),
    ];
    for (kind, count, words) in lengths {
        btf.record("", kind, count, &vec![0xffff_ffff; words]);
    }
    let variable = btf.variable("jiffies");
    btf.section("data", &[(variable, 64)]);
    let bytes = btf.bytes();
    let btf = Btf::new(&bytes).unwrap();
    let records: Vec<Record<'_>> = btf.records().collect();
    assert_eq!(records.len(), lengths.len() + 2);
    let [.., jiffies, section] = &records[..] else {
        unreachable!()
    };
    assert_eq!((jiffies.number, jiffies.kind), (variable, Kind::Variable));
    assert!(btf.is_named(jiffies.name, "jiffies"));
    assert!(!btf.is_named(jiffies.name, "jiffie"));
    let Kind::Section(mut entries) = section.kind else {
        panic!("{section:?}")
    };
    assert_eq!(
        entries.next(),
        Some(Entry {
            variable,
            offset: 64
        })
    );
    assert_eq!(entries.next(), None);
}

#[test]
fn members_are_where_they_say() {
    let mut btf = BtfBuilder::new();
    let (one, two) = (btf.name("one"), btf.name("two"));
    btf.record("plain", 4, 2, &[one, 0, 32, two, 0, 37]);
    // With bit fields the upper byte is a length.
    btf.record("bits", 4 | 0x80, 1, &[one, 0, 3 << 24 | 64]);
    let bytes = btf.bytes();
    let members = |record: Record<'_>| match record.kind {
        Kind::Struct(members) => members.collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let all: Vec<_> = Btf::new(&bytes).unwrap().records().map(members).collect();
    assert_eq!(all[0], [(one, Some(4)), (two, None)]);
    assert_eq!(all[1], [(one, Some(8))]);
}

#[test]
fn what_makes_no_sense_is_the_end() {
    let mut btf = BtfBuilder::new();
    btf.variable("one");
    btf.record("unknown", 31, 0, &[]);
    btf.variable("two");
    let bytes = btf.bytes();
    assert_eq!(Btf::new(&bytes).unwrap().records().count(), 1);
    // Cut short, it is none at all.
    for len in 0..bytes.len() {
        assert!(Btf::new(&bytes[..len]).is_none(), "{len} bytes");
    }
    // A section that says that it is longer than everything.
    let mut btf = BtfBuilder::new();
    btf.record("section", 15, 0xffff, &[1, 0, 0]);
    assert_eq!(Btf::new(&btf.bytes()).unwrap().records().count(), 0);
}

#[test]
fn lengths_beyond_everything_do_not_overflow() {
    let mut bytes = BtfBuilder::new().bytes();
    bytes[8..24].fill(0xff);
    assert!(Btf::new(&bytes).is_none());
    let header = Header::read(&bytes).unwrap();
    assert_eq!(header.total_len(), 24 + 2 * u64::from(u32::MAX));
    bytes[4..8].fill(0xff);
    assert!(Header::read(&bytes).is_none());
    bytes[4..8].fill(0);
    assert!(Header::read(&bytes).is_none());
}
