"""What the default policy makes honest users and thieves pay, measured on Fashion-MNIST."""
