# One template for all bases: boots a disk, runs its payload's apply.sh, seals it: the layers' on a prepared disk, or
# prepare.sh in its place on a vendor's. src/bake/packer.ts passes the variables. It serves Packer 1.6.6 (QEMU builder
# built in) and newer ones (plugins.pkr.hcl goes beside it for those).

variable "disk" {
  type        = string
  description = "The disk to boot, qcow2. It is copied, never written."
}

variable "payload" {
  type        = string
  description = "Archive with apply.sh, seal.sh, and what they read."
}

variable "work" {
  type        = string
  description = "Folder for the seed, the key and the console log."
}

variable "output" {
  type        = string
  description = "Folder to make; the baked disk goes there."
}

variable "accelerator" {
  type        = string
  description = "kvm or tcg."
}

variable "machine" {
  type        = list(list(string))
  description = "Further QEMU arguments, by accelerator and run."
}

source "qemu" "clawdy" {
  disk_image       = true
  iso_url          = var.disk
  iso_checksum     = "none"
  format           = "qcow2"
  skip_compaction  = true
  skip_resize_disk = true
  disk_interface   = "virtio"
  # Deleted blocks must read as zeros: the image is hashed and published whole.
  disk_discard     = "unmap"
  output_directory = var.output
  vm_name          = "disk.qcow2"

  accelerator = var.accelerator
  memory      = 1536
  cpus        = 2
  net_device  = "virtio-net"
  headless    = true

  http_directory       = "${var.work}/seed"
  ssh_username         = "root"
  ssh_private_key_file = "${var.work}/key"
  ssh_timeout          = "10m"
  boot_wait            = "1s"

  # --force skips the services' own shutdown, which would write a random seed and logs into the sealed disk.
  shutdown_command = "sync; systemctl poweroff --force"
  shutdown_timeout = "3m"

  # SMBIOS is how NoCloud learns where its seed is (cloud-init documentation, "NoCloud").
  qemuargs = concat(var.machine, [
    ["-smbios", "type=1,serial=ds=nocloud-net;s=http://{{ .HTTPIP }}:{{ .HTTPPort }}/"],
    ["-serial", "file:${var.work}/console.log"],
    ["-device", "virtio-rng-pci"],
  ])
}

build {
  sources = ["source.qemu.clawdy"]

  provisioner "file" {
    source      = var.payload
    destination = "/tmp/payload.tar"
  }

  provisioner "shell" {
    inline = [
      "set -eu",
      # Its last stage shows the host keys that the seal searches the disk for, and writes into /etc until then.
      "cloud-init status --wait >/dev/null 2>&1 || true",
      "mkdir /tmp/payload && tar -C /tmp/payload -xf /tmp/payload.tar",
      "sh /tmp/payload/apply.sh /tmp/payload",
    ]
  }

  provisioner "shell" {
    inline = [
      "set -eu",
      # Patterns, because a pattern that fits nothing is no error: what keeps the time differs between bases. The last two
      # would write again what goes.
      "systemctl stop 'systemd-random-seed.*' 'systemd-timesyncd.*' 'chrony.*' 'fail2ban.*' 'haproxy.*'",
      "sh /tmp/payload/seal.sh",
      "rm -rf /tmp/payload /tmp/payload.tar",
      "sync && fstrim /",
    ]
  }
}
