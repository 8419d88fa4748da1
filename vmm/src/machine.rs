//! The machine: vCPUs, RAM, buses and devices, wired together.
//!
//! ```text
//!  vCPU threads ──exit──> ports, mmio ──> serial, power, i8042, exit status, virtio-mmio windows
//!      ^                                      │                                      │
//!      └────────── interrupt lines (irqfd) ───┴──────────────────────────────────────┘
//!  guest ──queue notification (ioeventfd)──> a worker thread per running queue
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_ioctls::Kvm;
use muster_devices::bus::{Shared, lock};
use muster_devices::disk::Disk;
use muster_devices::i8042::{I8042, I8042_BASE, I8042_LEN};
use muster_devices::memory::GuestRam;
use muster_devices::power::{POWER_LEN, Power};
use muster_devices::serial::{SERIAL_LEN, SerialPort};
use muster_devices::status::{EXIT_STATUS_PORT, ExitStatus};
use muster_devices::virtio::VirtioDevice;
use muster_devices::virtio::block::Block;
use muster_devices::virtio::mmio::{MMIO_LEN, MmioTransport, QUEUE_NOTIFY};
use muster_devices::virtio::rng::Rng;
use muster_devices::{Bus, Device};
use thiserror::Error;
use vmm_sys_util::eventfd::EventFd;

use crate::board::{Board, BoardError};
use crate::boot::acpi::{self, AcpiSpec};
use crate::boot::{self, BootError, BootSpec, registers};
use crate::console::{Console, ConsoleError};
use crate::cpuid;
use crate::guest_locks::Finder;
use crate::kvm::stats::StatsError;
use crate::kvm::{KvmError, Vcpu, Vm};
use crate::layout;
use crate::memory::{self, MemoryError, MemorySpec};
use crate::node_link::{self, JoinError, NodeLink, NodeSpec};
use crate::spec::VmSpec;
use crate::vcpu::{AddressSpaces, Reporter, StartVcpusError, Stuck, Vcpus, firmware_msrs};

/// A machine could not be built or started.
#[derive(Debug, Error)]
pub enum MachineError {
    /// KVM is missing or refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Guest memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Kernel, initrd, command line or tables.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The console.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// What is shared with the guest and the node manager.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// A virtio device.
    #[error("cannot set up a virtio device")]
    Device(#[source] io::Error),
    /// The node manager.
    #[error(transparent)]
    Node(#[from] JoinError),
    /// What KVM counts.
    #[error(transparent)]
    Stats(#[from] StatsError),
    /// The vCPUs' threads.
    #[error(transparent)]
    Vcpus(#[from] StartVcpusError),
}

/// A machine that is ready to start.
pub struct Machine {
    vcpus: Vec<Vcpu>,
    devices: Devices,
    node: Option<NodeSpec>,
    /// The memory of a Linux guest whose locks somebody will want to know of.
    linux: Option<GuestRam>,
}

/// Everything but the vCPUs.
struct Devices {
    spaces: Arc<AddressSpaces>,
    virtio: Vec<Shared<MmioTransport>>,
    serial: Shared<SerialPort>,
    stop_vcpus: Arc<AtomicBool>,
    power_button: EventFd,
    exit_status: Arc<AtomicU8>,
    board: Arc<Board>,
    /// KVM disconnects all interrupt lines when the VM's descriptor is closed, even while vCPUs run.
    _vm: Vm,
}

impl Machine {
    /// Builds the machine of `spec`: its kernel is loaded, its first vCPU points to it.
    pub fn new(
        kvm: &Kvm,
        spec: &VmSpec,
        disks: &[Arc<dyn Disk>],
        console: &Console,
        room: EventFd,
    ) -> Result<Self, MachineError> {
        let max = kvm.get_max_vcpus();
        if spec.cpus as usize > max {
            return Err(KvmError::TooManyCpus {
                asked: spec.cpus,
                max,
            }
            .into());
        }
        let ram = memory::allocate(MemorySpec {
            size: spec.memory_bytes,
        })?;
        let virtio_devices = disks.len() + 1;
        let rsdp = acpi::write(
            &ram,
            &AcpiSpec {
                cpus: spec.cpus,
                virtio_devices,
            },
        )?;
        let boot = BootSpec {
            kernel: spec.kernel.clone(),
            initrd: spec.initrd.clone(),
            cmdline: spec.cmdline.clone(),
            protocol: spec.protocol,
        };
        let entry = boot::load(&ram, &boot, rsdp)?;

        let board = Arc::new(Board::create(spec.cpus)?);
        let vm = Vm::new(kvm, ram.clone(), board.clone())?;
        let vcpus = create_vcpus(&vm, spec.cpus)?;
        let tsc_khz = vcpus[0].tsc_khz().unwrap_or_default();
        let guest_header = board.guest_header();
        guest_header.tsc_khz.store(tsc_khz, Ordering::Relaxed);
        let mut sregs = vcpus[0].sregs()?;
        let regs = registers::set_entry(&ram, &entry, &mut sregs)?;
        vcpus[0].set_registers(&regs, &sregs)?;
        if spec.node.is_some() {
            vm.disable_halt_polling()?;
        }
        let devices = Devices::new(vm, &ram, board, disks, console, room)?;
        let is_seen = spec.node.is_some() && boot::is_linux(&spec.kernel)?;
        Ok(Self {
            vcpus,
            devices,
            node: spec.node.clone(),
            linux: is_seen.then_some(ram),
        })
    }

    /// The console's serial port.
    pub fn serial(&self) -> Shared<SerialPort> {
        self.devices.serial.clone()
    }

    /// Lets the guest run. Its vCPUs report to `reporter` how they end.
    pub fn start(self, reporter: &Reporter) -> Result<RunningMachine, MachineError> {
        let Self {
            vcpus,
            devices,
            node,
            linux,
        } = self;
        let mut stats = Vec::new();
        if node.is_some() {
            // Nothing runs until the node manager has said so.
            node_link::close_gates(&devices.board);
            let descriptors = vcpus.iter().map(Vcpu::stats);
            stats = descriptors.collect::<Result<_, StatsError>>()?;
        }
        let finder = linux
            .map(|ram| Finder::start(ram, devices.board.clone()))
            .transpose()
            .map_err(StartVcpusError::Thread)?;
        let vcpus = Vcpus::start(
            vcpus,
            &devices.spaces,
            &devices.board,
            finder.as_ref().map(Finder::locks),
            reporter,
            devices.stop_vcpus.clone(),
        )?;
        let link = match node {
            Some(node) => {
                vcpus.wait_until_known(&devices.board);
                Some(NodeLink::join(&node, devices.board.clone(), stats)?)
            }
            None => None,
        };
        Ok(RunningMachine {
            link,
            vcpus,
            devices,
            _finder: finder,
        })
    }
}

/// Creates all vCPUs. Only the first gets registers to start with: the others wait for its start-up
/// IPIs, as processors do.
fn create_vcpus(vm: &Vm, cpus: u32) -> Result<Vec<Vcpu>, KvmError> {
    let cpuid = cpuid::Template::new(vm, cpus);
    let msrs = firmware_msrs();
    (0..cpus)
        .map(|index| {
            let vcpu = vm.create_vcpu(index)?;
            vcpu.set_cpuid(&cpuid.for_vcpu(index))?;
            vcpu.set_msrs(&msrs)?;
            Ok(vcpu)
        })
        .collect()
}

impl Devices {
    fn new(
        vm: Vm,
        ram: &GuestRam,
        board: Arc<Board>,
        disks: &[Arc<dyn Disk>],
        console: &Console,
        room: EventFd,
    ) -> Result<Self, MachineError> {
        let mut spaces = AddressSpaces::default();
        let exit_status = Arc::new(AtomicU8::new(0));
        let stop_vcpus = Arc::new(AtomicBool::new(false));
        let serial = Arc::new(Mutex::new(SerialPort::new(
            vm.irq_line(layout::SERIAL_GSI)?,
            console.writer(stop_vcpus.clone())?,
            room,
        )));

        let ports = &mut spaces.ports;
        place(
            ports,
            layout::SERIAL_PORT.into(),
            SERIAL_LEN,
            serial.clone(),
        );
        place(ports, I8042_BASE, I8042_LEN, shared(I8042));
        place(ports, layout::POWER_PORT.into(), POWER_LEN, shared(Power));
        place(
            ports,
            EXIT_STATUS_PORT,
            1,
            shared(ExitStatus::new(exit_status.clone())),
        );

        let blocks = disks
            .iter()
            .map(|disk| Box::new(Block::new(disk.clone())) as _);
        let rng = Rng::new().map_err(MachineError::Device)?;
        let devices: Vec<Box<dyn VirtioDevice>> = blocks.chain([Box::new(rng) as _]).collect();
        let mut virtio = Vec::with_capacity(devices.len());
        for (index, device) in devices.into_iter().enumerate() {
            let base = layout::virtio_window(index)
                .expect("the ACPI tables have checked the number of devices")
                .0;
            let line = vm.irq_line(layout::virtio_gsi(index))?;
            let transport =
                MmioTransport::new(device, ram.clone(), line).map_err(MachineError::Device)?;
            for (queue, kick) in transport.kicks().iter().enumerate() {
                vm.connect_kick(kick, base + QUEUE_NOTIFY, queue as u32)?;
            }
            let transport = Arc::new(Mutex::new(transport));
            place(&mut spaces.mmio, base, MMIO_LEN, transport.clone());
            virtio.push(transport);
        }
        let power_button = vm.irq_line(layout::POWER_BUTTON_GSI)?;
        Ok(Self {
            spaces: Arc::new(spaces),
            virtio,
            serial,
            stop_vcpus,
            power_button,
            exit_status,
            board,
            _vm: vm,
        })
    }

    fn stop(&self) {
        for transport in &self.virtio {
            lock(transport).stop();
        }
    }
}

fn shared<D: Device + 'static>(device: D) -> Shared<D> {
    Arc::new(Mutex::new(device))
}

/// Puts a device where the layout says.
fn place(bus: &mut Bus, base: u64, len: u64, device: Arc<Mutex<dyn Device>>) {
    bus.insert(base, len, device)
        .expect("the layout has a place for every device");
}

/// A machine whose guest is running.
///
/// Dropping it stops it as [`stop`](Self::stop) does: fields are dropped in their order.
pub struct RunningMachine {
    link: Option<NodeLink>,
    vcpus: Vcpus,
    devices: Devices,
    _finder: Option<Finder>,
}

impl RunningMachine {
    /// Presses and releases the ACPI power button.
    pub fn press_power_button(&self) {
        if let Err(error) = self.devices.power_button.write(1) {
            tracing::warn!(%error, "the power button does not work");
        }
    }

    /// Looks whether the node manager still lives, if there is one.
    pub fn look_after_node(&mut self) {
        if let Some(link) = &mut self.link {
            link.look();
        }
    }

    /// What the guest last wrote to the exit-status port.
    pub fn exit_status(&self) -> u8 {
        self.devices.exit_status.load(Ordering::Relaxed)
    }

    /// Stops vCPUs first, then devices, so that nothing new arrives at a stopped queue.
    /// `Err` if a vCPU is still busy in the host after `timeout`.
    pub fn stop(self, timeout: Duration) -> Result<(), Stuck> {
        self.vcpus.stop(timeout)?;
        self.devices.stop();
        Ok(())
    }
}
