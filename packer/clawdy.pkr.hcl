# One template for all bases: boots a prepared disk, applies the layers, seals it. src/bake/packer.ts passes the
# variables. It serves Packer 1.6.6 (QEMU builder built in) and newer ones (plugins.pkr.hcl goes beside it for those).

variable "disk" {
  type        = string
  description = "The prepared disk, qcow2. It is copied, never written."
}

variable "payload" {
  type        = string
  description = "Archive of what packer/apply.sh reads."
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
  description = "Further QEMU arguments, by accelerator."
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
      "mkdir /tmp/payload && tar -C /tmp/payload -xf /tmp/payload.tar",
      "sh /tmp/payload/apply.sh /tmp/payload",
    ]
  }

  provisioner "shell" {
    inline = [
      "set -eu",
      "systemctl stop systemd-random-seed.service systemd-timesyncd.service",
      "sh /tmp/payload/seal.sh",
      "rm -rf /tmp/payload /tmp/payload.tar",
      "sync && fstrim /",
    ]
  }
}
