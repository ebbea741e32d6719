package main

import (
	"github.com/alchemi/cockpit/control"
	"github.com/alchemi/cockpit/control/api"
	"github.com/spf13/cobra"
)

func openapiCommand() *cobra.Command {
	return &cobra.Command{Use: "openapi", Short: "The API's description, as schemas/openapi.json has it", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := control.New(api.Config{Version: apiVersion}).Document()
			if err == nil {
				_, err = c.OutOrStdout().Write(text)
			}
			return err
		}}
}

// apiVersion is that of the API's contract, not of the program.
const apiVersion = "1"
