use muster_vmm::host::{
    CgroupReport, CpuReport, Extension, HugePagePool, KvmKind, KvmReport, MemoryReport,
    REPORT_SCHEMA, SchedulingReport,
};

use super::*;

/// A report with every kind of value in it.
fn report() -> HostReport {
    let fact = |id, area, status, summary: &str, advice: Option<&str>| Fact {
        id,
        area,
        status,
        summary: summary.into(),
        advice: advice.map(str::to_owned),
    };
    HostReport {
        schema: REPORT_SCHEMA,
        guests: Guests::None,
        kernel: Some("6.1.0-18-amd64".into()),
        kvm: KvmReport {
            kind: KvmKind::Hardware(Extension::Svm),
            usable: false,
            nested: false,
            api_version: None,
            vcpus_max: None,
            missing_capabilities: vec!["irqfd"],
        },
        cpus: CpuReport {
            model: Some("Test CPU".into()),
            online: 8,
            usable: 6,
            sockets: 1,
            cores: 4,
            threads_per_core: 2,
            last_level_caches: 1,
            numa_nodes: 1,
        },
        memory: MemoryReport {
            total_bytes: Some(1 << 34),
            available_bytes: Some(1 << 33),
            transparent_huge_pages: Some("madvise".into()),
            huge_page_pools: vec![HugePagePool {
                page_bytes: 1 << 21,
                total: 4,
                free: 3,
            }],
        },
        scheduling: SchedulingReport {
            rt_priority_max: 0,
            nice_min: -5,
            rt_runtime_us: Some(-1),
            rt_period_us: None,
            autogroup: true,
        },
        cgroups: CgroupReport {
            version: Some(2),
            path: Some("/sys/fs/cgroup".into()),
            controllers: vec!["cpu".into()],
            delegated: false,
        },
        facts: vec![
            fact(
                "kvm",
                Area::Kvm,
                Status::Problem,
                "not for you",
                Some("`join` the group"),
            ),
            fact(
                "tun",
                Area::Devices,
                Status::Warning,
                "absent",
                Some("`modprobe tun`"),
            ),
            fact("io-uring", Area::Devices, Status::Ok, "allowed", None),
        ],
    }
}

#[test]
fn json_keeps_the_form_that_the_manual_promises() {
    let expected = serde_json::json!({
        "schema": 1,
        "guests": "none",
        "kernel": "6.1.0-18-amd64",
        "kvm": {
            "kind": "svm",
            "usable": false,
            "nested": false,
            "api_version": null,
            "vcpus_max": null,
            "missing_capabilities": ["irqfd"],
        },
        "cpus": {
            "model": "Test CPU",
            "online": 8,
            "usable": 6,
            "sockets": 1,
            "cores": 4,
            "threads_per_core": 2,
            "last_level_caches": 1,
            "numa_nodes": 1,
        },
        "memory": {
            "total_bytes": 17_179_869_184_u64,
            "available_bytes": 8_589_934_592_u64,
            "transparent_huge_pages": "madvise",
            "huge_page_pools": [{ "page_bytes": 2_097_152, "total": 4, "free": 3 }],
        },
        "scheduling": {
            "rt_priority_max": 0,
            "nice_min": -5,
            "rt_runtime_us": -1,
            "rt_period_us": null,
            "autogroup": true,
        },
        "cgroups": {
            "version": 2,
            "path": "/sys/fs/cgroup",
            "controllers": ["cpu"],
            "delegated": false,
        },
        "facts": [
            {
                "id": "kvm",
                "area": "kvm",
                "status": "problem",
                "summary": "not for you",
                "advice": "`join` the group",
            },
            {
                "id": "tun",
                "area": "devices",
                "status": "warning",
                "summary": "absent",
                "advice": "`modprobe tun`",
            },
            {
                "id": "io-uring",
                "area": "devices",
                "status": "ok",
                "summary": "allowed",
                "advice": null,
            },
        ],
    });
    assert_eq!(serde_json::to_value(report()).unwrap(), expected);
}

#[test]
fn words_that_programs_compare_are_stable() {
    let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    let kind = |kind: KvmKind| word(serde_json::to_value(kind).unwrap());
    assert_eq!(kind(KvmKind::Hardware(Extension::Vmx)), "vmx");
    assert_eq!(kind(KvmKind::Pvm), "pvm");
    assert_eq!(kind(KvmKind::Other), "other");
    assert_eq!(kind(KvmKind::None), "none");
    let guests = |guests: Guests| word(serde_json::to_value(guests).unwrap());
    assert_eq!(guests(Guests::All), "all");
    assert_eq!(guests(Guests::BareMetal), "bare-metal");
    let area = |area: Area| word(serde_json::to_value(area).unwrap());
    assert_eq!(area(Area::Scheduling), "scheduling");
    assert_eq!(area(Area::Cgroups), "cgroups");
    assert_eq!(area(Area::Memory), "memory");
    assert_eq!(area(Area::System), "system");
}

#[test]
fn people_get_columns_and_advice_below_what_it_is_about() {
    let report = report();
    let page = Page {
        report: &report,
        colours: false,
    }
    .to_string();
    assert_eq!(
        page,
        "\
KVM
  problem  kvm       not for you
                     -> `join` the group
Devices
  warning  tun       absent
                     -> `modprobe tun`
  ok       io-uring  allowed

This host runs no guests until the problem is solved. 1 warning."
    );
}

#[test]
fn colours_change_no_text() {
    let report = report();
    let coloured = Page {
        report: &report,
        colours: true,
    }
    .to_string();
    for sequence in [
        "\x1b[1mKVM\x1b[0m",
        "\x1b[31mproblem\x1b[0m",
        "\x1b[33mwarning\x1b[0m",
    ] {
        assert!(coloured.contains(sequence), "{sequence:?} in {coloured:?}");
    }
    let mut plain = coloured;
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(
        plain,
        Page {
            report: &report,
            colours: false
        }
        .to_string()
    );
}

#[test]
fn each_verdict_is_told() {
    let verdict = |guests| {
        let report = HostReport {
            guests,
            facts: vec![],
            ..report()
        };
        Page {
            report: &report,
            colours: false,
        }
        .to_string()
    };
    assert_eq!(verdict(Guests::All), "\nThis host runs Linux guests.");
    assert!(verdict(Guests::BareMetal).contains("no stock Linux kernel"));
}

#[test]
fn what_the_node_manager_would_take_stands_with_scheduling() {
    let permits = |real_time, nice| Permits {
        real_time,
        nice,
        nice_counts: true,
    };
    let best = ways(permits(true, true));
    assert_eq!(best.status, Status::Ok);
    assert_eq!(
        best.summary,
        "gate, switched by real-time threads; on request pulse, affinity"
    );
    assert_eq!(best.advice, None);
    let least = ways(permits(false, false));
    assert_eq!(least.status, Status::Warning);
    assert_eq!(
        least.summary,
        "gate, switched by ordinary threads; on request affinity; not pulse"
    );
    assert!(least.advice.unwrap().contains("real-time priority 10"));

    let fact = |id, area| Fact {
        id,
        area,
        status: Status::Ok,
        summary: "works".to_owned(),
        advice: None,
    };
    let mut facts = vec![
        fact("tun", Area::Devices),
        fact("nice", Area::Scheduling),
        fact("memory", Area::Memory),
    ];
    add_ways(&mut facts, permits(true, true));
    let ids: Vec<&str> = facts.iter().map(|fact| fact.id).collect();
    assert_eq!(ids, ["tun", "nice", "node-manager", "memory"]);
}
