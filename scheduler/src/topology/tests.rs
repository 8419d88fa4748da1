use super::*;

fn parse(text: &str) -> Result<Topology, TopologyError> {
    text.parse::<TopologySpec>()?.build()
}

#[test]
fn a_number_is_cores_around_one_cache() {
    let host = parse("16").unwrap();
    assert_eq!(host, Topology::flat(16));
    assert_eq!((host.cores().len(), host.llcs().len()), (16, 1));
    assert_eq!(host.distance(CpuId(0), CpuId(15)), Distance::Cache);
}

#[test]
fn distances_follow_what_is_shared() {
    let host = parse("nodes=2,llcs=2,cores=2,threads=2").unwrap();
    assert_eq!(host.cpu_count(), 16);
    let from_first = |cpu| host.distance(CpuId(0), CpuId(cpu));
    assert_eq!(from_first(0), Distance::Same);
    assert_eq!(from_first(1), Distance::Core);
    assert_eq!(from_first(3), Distance::Cache);
    assert_eq!(from_first(7), Distance::Node);
    assert_eq!(from_first(8), Distance::Remote);
    assert_eq!(host.nodes()[1].to_string(), "8-15");
}

#[test]
fn nonsense_is_told() {
    let error = |text: &str| parse(text).unwrap_err().to_string();
    assert_eq!(error("0"), "0 CPUs: a host has from 1 to 1024");
    assert_eq!(error("cores=4096"), "4096 CPUs: a host has from 1 to 1024");
    let huge = format!("cores={0},llcs={0}", usize::MAX);
    assert!(error(&huge).ends_with("a host has from 1 to 1024"));
    assert!(error("sockets=2").starts_with("unknown \"sockets\""));
    assert_eq!(
        error("nodes=2,nodes=3"),
        "\"nodes\" stands twice in a topology"
    );
    assert!(error("many").starts_with("\"many\" is not a number"));
    assert!(error("cores=").starts_with("\"\" is not a number"));
}

#[test]
fn places_must_nest_and_have_no_gaps() {
    let place = |core, llc, node| Place { core, llc, node };
    let split = Topology::new(vec![place(0, 0, 0), place(0, 1, 0)]).unwrap_err();
    assert_eq!(split, TopologyError::Split("core", 0, "last-level cache"));
    let gap = Topology::new(vec![place(0, 0, 0), place(2, 0, 0)]).unwrap_err();
    assert_eq!(gap, TopologyError::Gap("core", 1));
}
