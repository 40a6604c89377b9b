# Packer 1.7 and later fetches builders as plugins; 1.6.6 has QEMU's built in and doesn't know this block, so
# src/bake/packer.ts hands this file to newer ones only.
packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = "= 1.1.4"
    }
  }
}
