//! A KVM virtual machine: memory slots, interrupt controller, and eventfds wired to both.
#![expect(
    unsafe_code,
    reason = "memory slots are addresses; this module ties their lifetime to the VM"
)]

use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_CAP_HALT_POLL, KVM_IOAPIC_NUM_PINS, KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQCHIP_IOAPIC,
    KVM_MAX_CPUID_ENTRIES, KvmIrqRouting, kvm_enable_cap, kvm_irq_routing_entry,
    kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_irqchip, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, VmFd};
use muster_devices::memory::GuestRam;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{KvmError, Vcpu};
use crate::board::Board;
use crate::layout;

/// One VM, with its RAM and interrupt controller in place.
#[derive(Debug)]
pub struct Vm {
    // Declared before `ram` and `board`: closed before the memory that its slots point to is unmapped.
    // vCPUs hold clones of both.
    fd: VmFd,
    ram: GuestRam,
    board: Arc<Board>,
    cpuid: CpuId,
    tsc_deadline: bool,
}

impl Vm {
    /// A VM with `ram` and the guest page of `board` in its memory slots, an in-kernel interrupt controller and no vCPUs.
    pub fn new(kvm: &Kvm, ram: GuestRam, board: Arc<Board>) -> Result<Self, KvmError> {
        let fd = create(kvm)?;
        // Intel's processors without "unrestricted guest" need three pages and one page of guest
        // address space; elsewhere the calls do nothing.
        fd.set_identity_map_address(layout::IDENTITY_MAP_ADDRESS)
            .map_err(KvmError::refused("place the identity map"))?;
        fd.set_tss_address(layout::TSS_ADDRESS as usize)
            .map_err(KvmError::refused("place the task state segment"))?;
        fd.create_irq_chip()
            .map_err(KvmError::refused("create an interrupt controller"))?;
        route_to_ioapic(&fd)?;
        for (slot, region) in ram.iter().enumerate() {
            let host = region
                .get_host_address(vm_memory::MemoryRegionAddress(0))
                .expect("an address of RAM that is mapped");
            let slot = kvm_userspace_memory_region {
                slot: slot as u32,
                flags: 0,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: host as u64,
            };
            // SAFETY: the range is a mapping that `ram` owns; this VM and each of its vCPUs keep a
            // clone of `ram`, so it outlives every use by KVM.
            unsafe { fd.set_user_memory_region(slot) }
                .map_err(KvmError::refused("add guest memory"))?;
        }
        let page = kvm_userspace_memory_region {
            slot: ram.num_regions() as u32,
            flags: 0,
            guest_phys_addr: layout::GUEST_PAGE.raw_value(),
            memory_size: muster_guest_page::LEN as u64,
            userspace_addr: board.guest_page_address() as u64,
        };
        // SAFETY: as above, with `board` in place of `ram`.
        unsafe { fd.set_user_memory_region(page) }
            .map_err(KvmError::refused("add the guest page"))?;
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(KvmError::refused("list CPU features"))?;
        let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
        Ok(Self {
            fd,
            ram,
            board,
            cpuid,
            tsc_deadline,
        })
    }

    /// The CPUID leaves that this host's KVM can give a guest, the same for every vCPU.
    pub fn supported_cpuid(&self) -> &CpuId {
        &self.cpuid
    }

    /// Whether the local APIC's timer takes TSC deadlines.
    pub fn has_tsc_deadline(&self) -> bool {
        self.tsc_deadline
    }

    /// Has a vCPU that halts give its CPU back at once, instead of looking for an interrupt for some
    /// hundred microseconds first: to a scheduler that looks from outside, that is work.
    pub fn disable_halt_polling(&self) -> Result<(), KvmError> {
        if self.fd.check_extension_raw(KVM_CAP_HALT_POLL.into()) <= 0 {
            // It came with Linux 5.11; before it, all VMs have the host's setting.
            return Ok(());
        }
        let cap = kvm_enable_cap {
            cap: KVM_CAP_HALT_POLL,
            ..Default::default()
        };
        self.fd
            .enable_cap(&cap)
            .map_err(KvmError::refused("switch halt polling off"))
    }

    /// An eventfd that gives an edge on interrupt line `gsi` when written.
    pub fn irq_line(&self, gsi: u32) -> Result<EventFd, KvmError> {
        let what = "connect an interrupt line";
        let line =
            EventFd::new(EFD_NONBLOCK).map_err(|error| KvmError::refused(what)(error.into()))?;
        self.fd
            .register_irqfd(&line, gsi)
            .map_err(KvmError::refused(what))?;
        Ok(line)
    }

    /// Makes a guest's 4-byte write of `value` to `address` signal `kick` without leaving the kernel.
    pub fn connect_kick(&self, kick: &EventFd, address: u64, value: u32) -> Result<(), KvmError> {
        self.fd
            .register_ioevent(kick, &IoEventAddress::Mmio(address), value)
            .map_err(KvmError::refused("connect a queue notification"))
    }

    /// Adds vCPU number `index`, which is also its APIC ID.
    pub fn create_vcpu(&self, index: u32) -> Result<Vcpu, KvmError> {
        let fd = self
            .fd
            .create_vcpu(u64::from(index))
            .map_err(KvmError::refused("create a vCPU"))?;
        Vcpu::new(index, fd, (self.ram.clone(), self.board.clone()))
    }
}

/// Creates an empty VM. The kernel gives up with EINTR when a signal arrives meanwhile.
fn create(kvm: &Kvm) -> Result<VmFd, KvmError> {
    loop {
        match kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => {}
            other => return other.map_err(KvmError::refused("create a VM")),
        }
    }
}

/// Connects interrupt lines to the I/O APIC alone. KVM's default also connects the first 16 to the
/// pair of 8259s, which our guests are told do not exist and so never mask: an interrupt before the
/// guest is ready would arrive there as an exception's vector.
fn route_to_ioapic(fd: &VmFd) -> Result<(), KvmError> {
    let entries: Vec<_> = (0..KVM_IOAPIC_NUM_PINS)
        .map(|pin| kvm_irq_routing_entry {
            gsi: pin,
            type_: KVM_IRQ_ROUTING_IRQCHIP,
            u: kvm_irq_routing_entry__bindgen_ty_1 {
                irqchip: kvm_irq_routing_irqchip {
                    irqchip: KVM_IRQCHIP_IOAPIC,
                    pin,
                },
            },
            ..Default::default()
        })
        .collect();
    let routing = KvmIrqRouting::from_entries(&entries).expect("24 entries fit");
    fd.set_gsi_routing(&routing)
        .map_err(KvmError::refused("route interrupts"))
}
