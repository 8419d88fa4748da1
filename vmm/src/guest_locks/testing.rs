//! BTF as kernels have it, made to order.

/// Grows by a record at a time.
#[derive(Debug, Default)]
pub struct BtfBuilder {
    types: Vec<u8>,
    strings: Vec<u8>,
    records: u32,
}

impl BtfBuilder {
    /// Without any record.
    pub fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    /// A name; gives where it is.
    pub fn name(&mut self, name: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// A record of any kind; gives its number.
    pub fn record(&mut self, name: &str, kind: u32, count: u32, rest: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, kind << 24 | count, 0].iter().chain(rest) {
            self.types.extend(word.to_le_bytes());
        }
        self.records += 1;
        self.records
    }

    /// A global variable.
    pub fn variable(&mut self, name: &str) -> u32 {
        self.record(name, 14, 0, &[1])
    }

    /// A function.
    pub fn function(&mut self, name: &str) -> u32 {
        self.record(name, 12, 1, &[])
    }

    /// A section with variables: their numbers and where they are.
    pub fn section(&mut self, name: &str, variables: &[(u32, u32)]) -> u32 {
        let entries: Vec<u32> = { variables.iter() }
            .flat_map(|&(number, offset)| [number, offset, 8])
            .collect();
        self.record(name, 15, variables.len() as u32, &entries)
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }
}

/// Where [`kernel_types`] has the preempt count, and the area's own offset.
pub const COUNT: u32 = 0x1fb40;
/// See above.
pub const OWN_OFFSET: u32 = 0x19168;

/// Where it has the address of the task that runs, and where a task has its number.
pub const CURRENT: u32 = 0x1fb80;
/// See above.
pub const NUMBER: u32 = 2416;

/// What a kernel with preemption has, as far as it matters.
pub fn kernel_types() -> BtfBuilder {
    let mut btf = BtfBuilder::new();
    btf.record("unsigned int", 1, 0, &[32]);
    btf.record("", 6, 2, &[0, 1, 0, 2]);
    btf.function("preempt_schedule");
    let count = btf.variable("__preempt_count");
    let own_offset = btf.variable("this_cpu_off");
    let current = btf.variable("current_task");
    let places = [(own_offset, OWN_OFFSET), (count, COUNT), (current, CURRENT)];
    btf.section(".data..percpu", &places);
    let (flags, number) = (btf.name("flags"), btf.name("pid"));
    btf.record("task_struct", 4, 2, &[flags, 1, 352, number, 1, NUMBER * 8]);
    btf
}
