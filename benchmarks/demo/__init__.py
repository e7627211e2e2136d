"""The demo: users and thieves of a protected model, on the command line and on a page to draw on."""
