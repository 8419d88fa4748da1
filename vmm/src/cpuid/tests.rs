use super::*;

fn entry(function: u32, index: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function,
        index,
        ..Default::default()
    }
}

/// What a host with AMD's and Intel's leaves might list.
fn host() -> Vec<kvm_cpuid_entry2> {
    let cache = |function, level: u32| kvm_cpuid_entry2 {
        // A data cache, its level in bits 5 to 7; the host's own 16 sharers and 8 cores.
        eax: 1 | (level << 5) | (15 << 14) | (7 << 26),
        ..entry(function, level)
    };
    vec![
        kvm_cpuid_entry2 {
            eax: 0x1f,
            ebx: u32::from_le_bytes(*b"Auth"),
            edx: u32::from_le_bytes(*b"enti"),
            ecx: u32::from_le_bytes(*b"cAMD"),
            ..entry(0, 0)
        },
        kvm_cpuid_entry2 {
            ebx: 0x0510_0000,
            ..entry(1, 0)
        },
        cache(4, 1),
        cache(4, 3),
        kvm_cpuid_entry2 {
            ebx: 99,
            ..entry(0xb, 0)
        },
        kvm_cpuid_entry2 {
            ecx: TOPOLOGY_EXTENSIONS,
            ..entry(0x8000_0001, 0)
        },
        entry(0x8000_0008, 0),
        cache(0x8000_001d, 1),
        cache(0x8000_001d, 3),
        entry(0x8000_001e, 0),
    ]
}

fn leaf(cpuid: &CpuId, function: u32, index: u32) -> kvm_cpuid_entry2 {
    let found: Vec<_> = cpuid
        .as_slice()
        .iter()
        .filter(|entry| entry.function == function && entry.index == index)
        .collect();
    assert_eq!(found.len(), 1, "leaf {function:#x}.{index}");
    *found[0]
}

#[test]
fn each_vcpu_knows_its_own_apic_id_everywhere() {
    let template = Template::from_entries(&host(), 6, true);
    for id in 0..6 {
        let cpuid = template.for_vcpu(id);
        assert_eq!(leaf(&cpuid, 1, 0).ebx >> 24, id);
        for index in 0..3 {
            assert_eq!(leaf(&cpuid, 0xb, index).edx, id);
            assert_eq!(leaf(&cpuid, 0x1f, index).edx, id);
        }
        assert_eq!(leaf(&cpuid, 0x8000_001e, 0).eax, id);
        assert_eq!(leaf(&cpuid, 0x8000_001e, 0).ebx, id);
    }
}

#[test]
fn the_package_holds_all_vcpus_as_single_threaded_cores() {
    for (cpus, bits) in [(1, 0), (2, 1), (3, 2), (4, 2), (6, 3), (64, 6)] {
        let cpuid = Template::from_entries(&host(), cpus, true).for_vcpu(0);
        assert_eq!(leaf(&cpuid, 1, 0).ebx >> 16 & 0xff, cpus);
        assert_eq!(leaf(&cpuid, 1, 0).edx & HTT != 0, cpus > 1);
        let (smt, core, end) = (
            leaf(&cpuid, 0xb, 0),
            leaf(&cpuid, 0xb, 1),
            leaf(&cpuid, 0xb, 2),
        );
        assert_eq!((smt.eax, smt.ebx, smt.ecx), (0, 1, 0x100));
        assert_eq!((core.eax, core.ebx, core.ecx), (bits, cpus, 0x201));
        assert_eq!((end.eax, end.ebx, end.ecx), (0, 0, 2));
        let size = leaf(&cpuid, 0x8000_0008, 0).ecx;
        assert_eq!((size & 0xff, size >> 12 & 0xf), (cpus - 1, bits));
    }
}

#[test]
fn only_the_last_level_cache_is_shared() {
    let cpuid = Template::from_entries(&host(), 6, true).for_vcpu(0);
    for function in [4, 0x8000_001d] {
        assert_eq!(leaf(&cpuid, function, 1).eax >> 14 & 0xfff, 0);
        assert_eq!(leaf(&cpuid, function, 3).eax >> 14 & 0xfff, 7);
    }
    assert_eq!(leaf(&cpuid, 4, 3).eax >> 26, 7);
}

#[test]
fn the_deadline_timer_is_offered_only_where_kvm_has_it() {
    for has in [false, true] {
        let cpuid = Template::from_entries(&host(), 1, has).for_vcpu(0);
        let ecx = leaf(&cpuid, 1, 0).ecx;
        assert_eq!(ecx & TSC_DEADLINE != 0, has);
        assert_eq!(ecx & (HYPERVISOR | X2APIC), HYPERVISOR | X2APIC);
    }
}

#[test]
fn a_host_without_the_topology_leaves_gets_none() {
    let mut host = host();
    host[0].eax = 0xa;
    let cpuid = Template::from_entries(&host, 4, true).for_vcpu(0);
    assert!(
        cpuid
            .as_slice()
            .iter()
            .all(|entry| !matches!(entry.function, 0xb | 0x1f))
    );
}

#[test]
fn leaves_that_mean_something_only_on_amd_stay_as_they_are_elsewhere() {
    let mut host = host();
    host[0].ebx = u32::from_le_bytes(*b"Genu");
    let cpuid = Template::from_entries(&host, 4, true).for_vcpu(0);
    assert_eq!(leaf(&cpuid, 0x8000_0001, 0).ecx & CMP_LEGACY, 0);
    assert_eq!(leaf(&cpuid, 0x8000_0008, 0).ecx, 0);
}

#[test]
fn the_end_of_the_list_of_caches_stays_empty() {
    let mut host = host();
    host.push(entry(4, 4));
    let cpuid = Template::from_entries(&host, 4, true).for_vcpu(0);
    assert_eq!(leaf(&cpuid, 4, 4).eax, 0);
}
